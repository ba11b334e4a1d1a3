"""Imported once by the process that workers are forked from: all that commands import, and the cases."""

import json
import os

import datasets  # noqa: F401
import torch

import secateur.cli
import secateur.report
import secateur.scale
import secateur.study.compare
import secateur.study.condense
import secateur.study.mine
import secateur.study.plan
import secateur.study.prune  # noqa: F401
from tests.campaign.cases import Plan
from tests.campaign.families import enumerated

torch.set_num_threads(1)
if PLAN := os.environ.get("CAMPAIGN_PLAN"):
    enumerated(Plan(*json.loads(PLAN)))
