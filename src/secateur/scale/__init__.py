"""Embeddings by the billion: parquet shards in, the ids worth training on out, on this machine or on Ray.

import secateur as sc

sc.scale.prune("shards/*.parquet", keep=0.3, out="pruned")
"""

from secateur.scale.claim import How as How
from secateur.scale.filters import Filter as Filter
from secateur.scale.instructions import Instructed as Instructed
from secateur.scale.instructions import instructions as instructions
from secateur.scale.learned import Selecting as Selecting
from secateur.scale.prune import prune as prune
from secateur.scale.quotas import Choice as Choice
from secateur.scale.run import Clustering as Clustering
from secateur.scale.run import Dedup as Dedup
from secateur.scale.select import select as select
from secateur.scale.shards import Columns as Columns
from secateur.scale.tell import Pruned as Pruned

__all__ = [
    "Choice",
    "Clustering",
    "Columns",
    "Dedup",
    "Filter",
    "How",
    "Instructed",
    "Pruned",
    "Selecting",
    "instructions",
    "prune",
    "select",
]
