"""What a user should know about a plan before it runs."""

from collections.abc import Iterator

from mmcache.common.plugins import clash_note, difference, read_record
from mmcache.extract.datasets.base.plugin import DATASET_PLUGIN
from mmcache.extract.encoders import entry_of
from mmcache.extract.encoders.base.encoder import PLUGIN
from mmcache.extract.encoders.base.entry import NO_WEIGHTS, PRETRAINED, RANDOM
from mmcache.extract.encoders.plugin import ENCODER_PLUGIN
from mmcache.extract.planning.plan import Plan
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import read_meta, token_arrays
from mmcache.store.format.token_set import read_token_set


def plan_warnings(plan: Plan) -> list[str]:
    """What a user should know before the start: about plugins, and about weights."""
    out = [] if (note := clash_note(plan.config.dataset, DATASET_PLUGIN)) is None else [note]
    if plan.root.exists() and not plan.replaces:
        out += [*_changed_dataset(plan), *_plugins_not_asked_for(plan)]
    for part in plan.modalities:
        if part.info.plugin is None and (note := clash_note(part.encoder, ENCODER_PLUGIN)) is not None:
            out.append(note)
        name, published = part.encoder, entry_of(part.encoder).published
        if published == NO_WEIGHTS or part.info.plugin is not None:
            continue
        if plan.config.weights == PRETRAINED and published is None:
            out.append(f"{name} has no published weights: seeded random weights are used for {part.modality}")
        elif plan.config.weights.partition(":")[0] == RANDOM:
            out.append(f"{name} runs with seeded random weights: good for trying things out, not for results")
    return out


def _changed_dataset(plan: Plan) -> Iterator[str]:
    saved, ours = read_meta(plan.root).dataset_plugin, plan.meta.dataset_plugin
    if saved != ours:
        changed = difference(read_record(saved or None), ours or None)
        yield f"the data set plugin has changed since {plan.root} was made: {changed}. Its segments are the same"


def _plugins_not_asked_for(plan: Plan) -> Iterator[str]:
    """Tokens of plugins in the store, for modalities whose encoder the command leaves to the default."""
    for modality, encoder in token_arrays(plan.root):
        if modality in plan.config.encoder or modality not in [part.modality for part in plan.modalities]:
            continue
        attributes = read_token_set(plan.root, modality, encoder)["tokens"].attributes
        record = read_record(Fingerprint.from_attributes(attributes).preprocessing.get(PLUGIN))
        if record is not None:
            yield (
                f"the store has {modality} tokens of the plugin '{record['name']}', which is loaded only when it is "
                f"named: --encoder {modality}=path/to/file.py:{record['name']} goes on with these"
            )
