"""Judges that are language models: a prompt, an engine and a parser."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import brief
from safemerge_tasks.common.weights_fingerprint import weights_fingerprint
from safemerge_tasks.judges.engines import Completion, Engine, open_engine
from safemerge_tasks.judges.engines.usage import Usage
from safemerge_tasks.judges.engines.weights import check_weights
from safemerge_tasks.judges.prompts.clipping import Clip
from safemerge_tasks.judges.prompts.tokens import PromptError, PromptTemplate, TokenisedPrompt
from safemerge_tasks.judges.protocol import Judge
from safemerge_tasks.judges.settings import JudgeSettings
from safemerge_tasks.verdicts.verdict import Verdict


class ModelJudge:
    """A classifier that reads one prompt an exchange and answers in a fixed form."""

    deferred = False
    members: tuple[Judge, ...] = ()

    def __init__(
        self,
        settings: JudgeSettings,
        *,
        default_model: str,
        template: Callable[[], PromptTemplate],
        parse: Callable[[str], Verdict],
        parser_version: int,
        max_new_tokens: int,
        empty: Verdict,
        languages: frozenset[str] | None = None,
        mode: str | None = None,
        clip: Clip | None = None,
    ) -> None:
        """Prepare a judge; nothing is loaded.

        Args:
            settings: which engine and weights.
            default_model: the weights where the settings name none.
            template: returns the prompt, at little cost after the first call; may raise
                SafemergeError where the prompt cannot be had.
            parse: from the model's words to a verdict.
            parser_version: raised whenever `parse` may judge the same words otherwise.
            max_new_tokens: how long an answer may be.
            empty: the verdict on an empty response.
            languages: see `Judge.languages`.
            mode: how `parse` decides, where that is a setting.
            clip: how much of a response the judge's makers show it, where they say so.
        """
        self.name = settings.name
        self.empty = empty
        self.languages = languages
        self.uses_accelerator = settings.engine != "openai"
        self.usage = Usage()
        self._settings = settings
        self._model = settings.model or default_model
        self._template = template
        self._parse = parse
        self._parser_version = parser_version
        self._max_new_tokens = max_new_tokens
        self._how = {} if mode is None else {"mode": mode}
        self._clip = clip
        self._engine: Engine | None = None
        self._ran: dict[str, Any] = {}

    def check(self) -> None:
        """Make sure that the prompt, the weights and the key are there; see `Judge.check`."""
        self._template()
        if self._settings.engine == "openai":
            self._settings.api_key()
        check_weights(self._model, self._settings.revision)

    def open(self) -> None:
        """Start the engine unless it runs."""
        if self._engine is None:
            self._engine = open_engine(self._settings, self._model)
            self._ran = self._engine.identity()

    def judge(self, questions: Sequence[str], responses: Sequence[str]) -> list[Verdict]:
        """Return one verdict an exchange; a prompt or answer that fails is that one's reason."""
        self.open()
        assert self._engine is not None
        prompts = [self._prompt(q, r) for q, r in zip(questions, responses, strict=True)]
        ready = [
            index for index, prompt in enumerate(prompts) if isinstance(prompt, TokenisedPrompt)
        ]
        answers = self._ask(
            self._engine,
            [prompt.ids for prompt in prompts if isinstance(prompt, TokenisedPrompt)],
        )
        verdicts = [p if isinstance(p, Verdict) else Verdict() for p in prompts]
        for index, verdict in zip(ready, answers, strict=True):
            prompt = prompts[index]
            cut = isinstance(prompt, TokenisedPrompt) and prompt.cut
            verdicts[index] = replace(verdict, cut=cut)
        return verdicts

    def _ask(self, engine: Engine, prompts: Sequence[list[int]]) -> list[Verdict]:
        """Return the model's verdict on each prompt: what it writes, read by `parse`."""
        found = engine.answer(prompts, self._max_new_tokens)
        written = engine.tokenizer([one.text or "" for one in found], add_special_tokens=False)
        self.usage.add(sum(map(len, prompts)), sum(map(len, written["input_ids"])))
        return [self._verdict(one) for one in found]

    def _prompt(self, question: str, response: str) -> TokenisedPrompt | Verdict:
        assert self._engine is not None
        room = self._engine.max_model_len - self._max_new_tokens
        template, tokenizer = self._template(), self._engine.tokenizer
        try:
            shown = self._clip.of(tokenizer, response) if self._clip else response
            prompt = template.tokenise(tokenizer, question, shown, room)
            return replace(prompt, cut=prompt.cut or len(shown) < len(response))
        except PromptError as error:
            return Verdict.no_verdict(str(error))
        except Exception as error:  # a tokenizer's own, on this text alone
            reason = f"the judge's prompt cannot be made: {brief(error)}"
            return Verdict.no_verdict(reason, pending=True)

    def _verdict(self, answer: Completion) -> Verdict:
        if answer.text is None:
            return engine_failed(answer.error)
        try:
            return self._parse(answer.text)
        except Exception as error:  # a parser's own, on this answer alone
            reason = f"the judge's answer cannot be read: {brief(error)}"
            return Verdict.no_verdict(reason, answer.text, pending=True)

    def identity(self) -> dict[str, Any]:
        """Return name, prompt hash, parser version and weights, and how the engine ran if it did.

        It does not when all verdicts were kept from before.
        """
        prompt = self._template().text
        settings = self._settings
        local = Path(self._model).is_dir()
        return {
            "name": self.name,
            "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
            "parser_version": self._parser_version,
            **self._how,
            "engine": settings.engine,
            "model": self._model,
            "revision": settings.revision
            or (None if local else weights_fingerprint(self._model, None)),
            **{key: value for key, value in self._ran.items() if value is not None},
        }

    def cache_key(self) -> dict[str, Any] | None:
        """Return prompt, parser, weights and engine; None for weights that cannot be told."""
        settings = self._settings
        weights = weights_fingerprint(self._model, settings.revision)
        if weights is None and settings.engine != "openai":
            return None
        return {
            "name": self.name,
            "prompt": self._template().text,
            "stripped": self._template().stripped,
            "parser_version": self._parser_version,
            **self._how,
            **({"clip": asdict(self._clip)} if self._clip else {}),
            "max_new_tokens": self._max_new_tokens,
            "model": self._model,
            "weights": weights,
            **settings.model_dump(include={"engine", "url", "served_model", "dtype"}),
            "max_model_len": settings.max_model_len,
        }

    def close(self) -> None:
        """Stop the engine."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def unreadable(answer: str) -> Verdict:
    """Return the unscored verdict on an answer that is not in the judge's form."""
    return Verdict.no_verdict("the judge's answer does not parse", raw=answer)


def engine_failed(error: str | None) -> Verdict:
    """Return the unscored verdict where the model could not be asked."""
    return Verdict.no_verdict(f"the judge's engine failed: {error or 'no answer'}", pending=True)
