"""What a model is fine-tuned for: one class for each family of tasks, by the name that a recipe's `task:` gives it."""

from .chat import Chat
from .multiple_choice import MultipleChoice
from .preference import Preference
from .question_answering import QuestionAnswering
from .reinforcement import Reinforcement
from .reward import Reward
from .task import Task, TaskSettings
from .text_classification import TextClassification
from .text_to_text import TextToText
from .token_classification import TokenClassification


TASKS: dict[str, type[Task]] = {
    "text-classification": TextClassification,
    "token-classification": TokenClassification,
    "question-answering": QuestionAnswering,
    "multiple-choice": MultipleChoice,
    "text-to-text": TextToText,
    "chat": Chat,
    "preference": Preference,
    "reward": Reward,
    "reinforcement": Reinforcement,
}

__all__ = ["TASKS", "Task", "TaskSettings"]
