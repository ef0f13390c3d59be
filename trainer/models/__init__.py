from trainer.models.checkpoints import ModelPermission, RunCheckpoint
from trainer.models.coverage import DomainCount
from trainer.models.credit import CreditEntry, CreditName
from trainer.models.difficulty import DifficultyCheck, PassRate
from trainer.models.evals import Eval, EvalItem, EvalRun
from trainer.models.evaluations import AnsweredSuite, Evaluation, SuiteItem, SuiteVersion
from trainer.models.gates import GateReport
from trainer.models.lines import Alias, AliasMove, Line
from trainer.models.policies import PolicyVersion
from trainer.models.recipes import Mixture, MixtureEntry, MixtureSource, Recipe
from trainer.models.runs import RunAlarm, RunMetric, RunSample, TrainingRun
from trainer.models.schedules import Firing, Schedule
from trainer.models.suites import ImportedSuite, SuiteRotation
from trainer.models.usage import Usage, UsageBudget
from trainer.models.versions import BaseBuild, ModelVersion
from trainer.models.webhooks import Delivery, DeliveryTry, NewsCursor, Webhook

__all__ = [
    "Alias",
    "AliasMove",
    "AnsweredSuite",
    "BaseBuild",
    "CreditEntry",
    "CreditName",
    "Delivery",
    "DeliveryTry",
    "DifficultyCheck",
    "DomainCount",
    "Eval",
    "EvalItem",
    "EvalRun",
    "Evaluation",
    "Firing",
    "GateReport",
    "ImportedSuite",
    "Line",
    "Mixture",
    "MixtureEntry",
    "MixtureSource",
    "ModelPermission",
    "ModelVersion",
    "NewsCursor",
    "PassRate",
    "PolicyVersion",
    "Recipe",
    "RunAlarm",
    "RunCheckpoint",
    "RunMetric",
    "RunSample",
    "Schedule",
    "SuiteItem",
    "SuiteRotation",
    "SuiteVersion",
    "TrainingRun",
    "Usage",
    "UsageBudget",
    "Webhook",
]
