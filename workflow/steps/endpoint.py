"""A language model behind an OpenAI-compatible address, asked with retries and within a budget."""

import os
import threading
import time

import openai

from workflow.steps.files import InputError

CHARACTERS_PER_TOKEN = 4  # of English, about; the endpoint's own count replaces it once a call is answered
KEPT = "then start again: finished judgements are kept"


class Endpoint:
    """`ask` may be called from several threads.

    `settings`: name, base_url (null: that in OPENAI_BASE_URL, else OpenAI's), api_key_env
    (null: no key), timeout in seconds, retries, requests_per_minute (or null), max_tokens
    of a reply, price (US dollars per million tokens, `input` and `output`; or null),
    max_cost in US dollars (or null).  Raises InputError where the key is missing.
    """

    def __init__(self, settings: dict) -> None:
        variable = settings["api_key_env"]
        if variable is not None and not os.environ.get(variable):
            raise InputError(f"judge.api_key_env: the environment variable {variable} is not set")
        self.settings = settings
        self.client = openai.OpenAI(
            api_key=os.environ[variable] if variable else "none",
            base_url=settings["base_url"],
            timeout=settings["timeout"],
            max_retries=settings["retries"],  # on 408, 409, 429, 5xx and time-outs, with exponential back-off
        )
        self.address = str(self.client.base_url)
        self.spent = 0.0  # US dollars; calls under way count with the most they can cost
        self._lock = threading.Lock()
        self._next_call = time.monotonic()

    def ask(self, messages: list[dict], temperature: float) -> str:
        """The model's reply.  Raises InputError, one sentence, where there is none or no money left."""
        max_tokens = self.settings["max_tokens"]
        most = self.cost(tokens(messages), max_tokens)
        self._reserve(most)
        self._wait_for_turn()
        try:
            answer = self.client.chat.completions.create(
                model=self.settings["name"], messages=messages, temperature=temperature, max_tokens=max_tokens
            )
            reply, usage = answer.choices[0].message.content or "", answer.usage
        except openai.OpenAIError as error:
            raise InputError(f"judge {self.settings['name']!r}: {self._explained(error)}") from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            # a web page, cut JSON, no choice: the client passes on what it cannot read
            raise InputError(
                f"judge {self.settings['name']!r}: {self.address} answers, but with no chat completion; "
                f"correct judge.base_url, {KEPT}"
            ) from error
        if usage is not None:
            with self._lock:
                self.spent += self.cost(usage.prompt_tokens, usage.completion_tokens) - most
        return reply

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """US dollars; 0 where the config gives no price."""
        price = self.settings["price"] or {"input": 0.0, "output": 0.0}
        return (tokens_in * price["input"] + tokens_out * price["output"]) / 1e6

    def _reserve(self, amount: float) -> None:
        limit = self.settings["max_cost"]
        with self._lock:
            if limit is not None and self.spent + amount > limit:
                raise InputError(
                    f"judge.max_cost: ${self.spent:.2f} of ${limit:.2f} is spent or under way, and the next "
                    f"call could pass the limit; raise it, {KEPT}"
                )
            self.spent += amount

    def _wait_for_turn(self) -> None:
        """Spaces calls evenly; a call the client repeats by itself is not counted, its back-off spaces it."""
        if (rate := self.settings["requests_per_minute"]) is None:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(self._next_call, now)
            self._next_call = turn + 60 / rate
        time.sleep(turn - now)

    def _explained(self, error: openai.OpenAIError) -> str:
        where, settings = self.address, self.settings
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                if (variable := settings["api_key_env"]) is None:
                    return f"{where} wants a key ({error.status_code}); set judge.api_key_env"
                return f"{where} refused the key in {variable} ({error.status_code}); set a valid one"
            case openai.NotFoundError():
                return f"{where} knows no such model or address (404); correct judge.name or judge.base_url"
            case openai.RateLimitError() | openai.InternalServerError():
                tries = f"after {settings['retries']} retries"
                return f"{where} still answers {error.status_code} {tries}; wait, {KEPT}"
            case openai.APITimeoutError():
                return f"{where} does not answer in {settings['timeout']} s; raise judge.timeout, {KEPT}"
            case openai.APIConnectionError():
                return f"{where} cannot be reached; see that it is up, {KEPT}"
        return f"{where} refused the call ({str(error).partition(chr(10))[0]})"


def tokens(messages: list[dict]) -> int:
    """About how many tokens the messages have."""
    return sum(len(message["content"]) for message in messages) // CHARACTERS_PER_TOKEN
