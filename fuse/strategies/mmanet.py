"""mmanet: a student that keeps its teacher's relations between segments, and works on weak combinations (MMANet).

The teacher is trained on complete segments and sees all there is. The student sees a random subset, zeros elsewhere.
L = CE + 30 MAD + 0.5 MAR, the last two after the first twentieth of the run. MAD compares B x B relations of
penultimate features, weighted by the teacher's uncertainty; MAR gives more weight, through a head that is left behind
after training, to segments seen through the combinations whose predictions stray most (losses/mad.py, losses/mar.py).

The official code finds the weak combinations on the test set and ties the branches to one pair; here they are found on
the held-out part of train. Its softmax of their histograms is `mar_softmax`. It trains with SGD, here AdamW.
"""

from mmcache.fuse.strategies.base import Strategy

STRATEGY = Strategy(
    about="a teacher's relations between segments, and extra weight for weak combinations of modalities",
    source="MMANet, CVPR 2023",
    options={"fill": "zeros", "law": "uniform_subset", "mad": 30.0, "mar": 0.5},
    teacher="zeros",
)
