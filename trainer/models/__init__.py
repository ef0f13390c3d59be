from trainer.models.credit import CreditEntry, CreditName
from trainer.models.difficulty import DifficultyCheck, PassRate
from trainer.models.evaluations import Evaluation, SuiteItem, SuiteVersion
from trainer.models.gates import GateReport
from trainer.models.lines import Alias, AliasMove, Line
from trainer.models.recipes import Mixture, MixtureEntry, Recipe
from trainer.models.runs import RunAlarm, RunMetric, RunSample, TrainingRun
from trainer.models.schedules import Firing, Schedule
from trainer.models.usage import Usage, UsageBudget
from trainer.models.versions import BaseBuild, ModelVersion

__all__ = [
    "Alias",
    "AliasMove",
    "BaseBuild",
    "CreditEntry",
    "CreditName",
    "DifficultyCheck",
    "Evaluation",
    "Firing",
    "GateReport",
    "Line",
    "Mixture",
    "MixtureEntry",
    "ModelVersion",
    "PassRate",
    "Recipe",
    "RunAlarm",
    "RunMetric",
    "RunSample",
    "Schedule",
    "SuiteItem",
    "SuiteVersion",
    "TrainingRun",
    "Usage",
    "UsageBudget",
]
