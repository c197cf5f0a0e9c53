"""cmpt: proxy tokens in the encoder of each modality that predict the others (CMPT, arXiv 2501.17823)."""

from dataclasses import dataclass
from typing import Any

import torch

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.options.fields import Weight, option
from mmcache.fuse.strategies.base import Citation, Strategy, Term, check_handler
from mmcache.store.ground.errors import Problems


class Cmpt(Strategy):
    """A learned proxy token for every directed pair a -> b joins the tokens of a; its output stands for b.

    L = CE + 0.20 MSE(proxy, real). Fusion is a sum; modalities are dropped with p = 0.5.

    UNSURE in the paper: where its rank-1 adapters sit, gating, the dropout rate. Here the encoders are frozen and
    cached, so one transformer layer a modality takes the place of the adapted encoder, and the target is the mean of
    b's tokens instead of its class token.
    """

    about = "proxy tokens in each modality's own encoder that stand for the missing ones"
    cite = Citation(
        "Reza, Md Kaykobad and Prater-Bennette, Ashley and Asif, M. Salman",
        "Robust Multimodal Learning via Cross-Modal Proxy Tokens",
        "TMLR",
        2025,
        arxiv="2501.17823",
    )
    control = "dropout"
    idea = {"handler": "proxy", "proxy_encoder": "source"}
    published = {"fusion": "sum", "head": "linear", "sampler": "bernoulli_keep_one", "drop": 0.5}

    @dataclass(frozen=True)
    class Options:
        reconstruction: Weight = option(0.2, "Weight of the squared error of the proxies.", weight=True)

    @classmethod
    def check(cls, options: Any, problems: Problems) -> None:
        check_handler("reconstruction", "proxy", options, problems)

    def terms(self) -> list[Term]:
        return [self.cross_entropy(), *self.reconstruction()]

    def reconstruction(self) -> list[Term]:
        """The squared error of the proxies of what is present and was dropped."""
        weight = self.own.reconstruction
        return [Term("reconstruction", _proxy_error, weight, reads="targets")] if weight > 0 else []


def _proxy_error(step: Pass) -> torch.Tensor:
    proxies = step.handled.internals
    if proxies is None:  # a model of one modality has no proxies
        return step.handled.tokens[0].new_zeros(())
    return proxies.loss(step.real_means().detach(), step.hidden())
