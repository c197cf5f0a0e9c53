"""Commands on whole stores: info, verify, repair, merge, reduce."""
