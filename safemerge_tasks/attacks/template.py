"""The prompt under another chat template: `template=FILE`, a Jinja template as tokenizers have.

PTST, Lyu et al. 2024, arXiv 2402.18540: the template of training and that of testing decide much of
what tuning loses.
"""

from jinja2.exceptions import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from safemerge_tasks.attacks.attack import Attack, FileAttack
from safemerge_tasks.attacks.names import AttackName
from safemerge_tasks.attacks.settings import AttackSettings


class Template(FileAttack):
    """Renders conversations with the file's template and the model's own special tokens."""

    needs_template = True

    def __init__(self, name: AttackName, settings: AttackSettings) -> None:
        super().__init__(name, settings)
        try:
            # Tokenizers allow `{% generation %}` besides, which marks tokens for training only.
            ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(self.text)
        except TemplateSyntaxError as error:
            raise self.wrong(
                f"is no chat template (line {error.lineno}: {error.message}); give a Jinja file, "
                "such as a tokenizer's chat_template.jinja."
            ) from error
        if "messages" not in self.text:
            raise self.wrong("does not mention `messages`, so it shows no question; add it.")
        self.template = self.text


def make(name: AttackName, settings: AttackSettings) -> Attack:
    """Return the attack."""
    return Template(name, settings)
