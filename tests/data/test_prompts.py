# SPDX-License-Identifier: Apache-2.0
"""Tokens of a record: the template's turns, the boundary, what is cut."""

import numpy as np
import pytest

from fedpeft.data.prompts import Prompter
from fedpeft.data.records import Turn
from fedpeft.errors import BackboneError, ConfigError
from fedpeft.settings import DataSettings
from fedpeft.testing import tiny_tokenizer

# The kinds of template in use, each shortened to what matters here. BOS is <|endoftext|>.
TEMPLATES = {
    # Inserts a default system turn unless the first message is one.
    "default": (
        "{% for m in messages %}"
        "{% if loop.first and m.role != 'system' %}<|im_start|>system\nDEFAULT<|im_end|>\n{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    # Begins with BOS, then always has a system turn of its own into which the given one goes.
    "always": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content %}"
        "{% set messages = messages[1:] %}{% else %}{% set s = '' %}{% endif %}[system]DATE {{ s }}<|im_end|>"
        "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    ),
    # Refuses a system turn.
    "refuses": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}[{{ m.role }}]{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    ),
    # Puts the system text into the user's turn.
    "folds": (
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set s = messages[0].content + '\n' %}"
        "{% set messages = messages[1:] %}{% else %}{% set s = '' %}{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ s if loop.first }}{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    ),
    # Has a system turn only when one is given.
    "adds nothing": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    # Marks turns with plain words and never ends them.
    "plain": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:",
}
CHATML = "<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n"
USER_ALONE = {
    "default": CHATML,
    "always": "<|endoftext|>[user]How?<|im_end|>[assistant]",
    "refuses": "<|endoftext|>[user]How?<|im_end|>\n[assistant]",
    "folds": "<|endoftext|>[user]How?<|im_end|>[assistant]",
    "adds nothing": CHATML,
    "plain": "user: How?\nassistant:",
}


def _tokenizer(template="default", **changes):
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.chat_template = TEMPLATES[template]
    for name, value in changes.items():
        setattr(tokenizer, name, value)
    return tokenizer


def _prompter(tokenizer=None, max_length=128, system_prompt=False):
    return Prompter(tokenizer or _tokenizer(), max_length=max_length, system_prompt=system_prompt)


@pytest.mark.parametrize("template", TEMPLATES)
def test_prompt_is_the_users_turn_alone(template):
    tokenizer = _tokenizer(template)
    assert tokenizer.decode(_prompter(tokenizer).prompt_ids("How?")) == USER_ALONE[template]


@pytest.mark.parametrize("template", TEMPLATES)
def test_default_system_prompt_stays_when_asked(template):
    tokenizer = _tokenizer(template)
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "How?"}], tokenize=False, add_generation_prompt=True
    )
    assert tokenizer.decode(_prompter(tokenizer, system_prompt=True).prompt_ids("How?")) == rendered
    assert ("DEFAULT" in rendered or "DATE" in rendered) == (template in {"default", "always"})


def test_bos_that_also_begins_a_turn_is_not_doubled():
    tokenizer = _tokenizer("default", bos_token="<|im_start|>")
    assert tokenizer.decode(_prompter(tokenizer).prompt_ids("How?")) == CHATML


def test_tokenizer_adds_no_token_of_its_own():
    class Adding:
        """A tokenizer that would put BOS before every text."""

        def __init__(self):
            self._inner = _tokenizer()

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def encode(self, text, add_special_tokens=True, **kwargs):
            ids = self._inner.encode(text, add_special_tokens=False, **kwargs)
            return [self._inner.bos_token_id, *ids] if add_special_tokens else ids

    assert (
        _prompter(Adding()).encode("How?", "So.").ids.tolist()
        == _prompter().encode("How?", "So.").ids.tolist()
    )


@pytest.mark.parametrize("template", [name for name in TEMPLATES if name != "plain"])
def test_response_ends_with_the_end_of_turn_only(template):
    tokenizer = _tokenizer(template, eos_token="<|endoftext|>")
    assert tokenizer.decode(_prompter(tokenizer).response_ids("Like this.")) == "Like this.<|im_end|>"


def test_response_ends_with_eos_when_the_template_ends_no_turn():
    tokenizer = _tokenizer("plain", eos_token="<|endoftext|>")
    assert tokenizer.decode(_prompter(tokenizer).response_ids("Like this.")) == "Like this.<|endoftext|>"


def test_example_is_prompt_then_response():
    prompter = _prompter()
    example = prompter.encode("How?", "Like this.")
    assert example.ids.dtype == np.int32
    assert example.ids[: example.num_prompt].tolist() == prompter.prompt_ids("How?")
    assert example.ids[example.num_prompt :].tolist() == prompter.response_ids("Like this.")
    assert not example.truncated


def test_boundary_is_exact_where_the_tokenizer_would_merge():
    # " the" is one token; a boundary between the space and "the" must survive all the same.
    tokenizer = _tokenizer("plain", chat_template="{{ messages[0].content }}")
    assert len(tokenizer.encode(" the")) == 1
    prompter = _prompter(tokenizer)
    example = prompter.encode("x ", "the")
    assert tokenizer.decode(example.ids[: example.num_prompt]) == "x "
    assert tokenizer.decode(example.ids[example.num_prompt : -1]) == "the"


class TestTruncation:
    """Tokens, not characters, and the response first."""

    def test_a_fitting_example_is_whole(self):
        length = len(_prompter().encode("How?", "Like this.").ids)
        example = _prompter(max_length=length).encode("How?", "Like this.")
        assert len(example.ids) == length
        assert not example.truncated

    def test_response_is_cut_at_its_end(self):
        whole = _prompter().encode("How?", "Like this.")
        example = _prompter(max_length=len(whole.ids) - 1).encode("How?", "Like this.")
        assert example.truncated  # the end-of-turn token is gone
        assert example.ids.tolist() == whole.ids.tolist()[:-1]
        assert example.num_prompt == whole.num_prompt

    def test_long_prompt_leaves_one_token_of_response(self):
        prompter = _prompter(max_length=40)
        example = prompter.encode("word " * 100, "Like this.")
        assert len(example.ids) == 40
        assert example.num_prompt == 39
        assert example.ids[39] == prompter.response_ids("Like this.")[0]
        assert example.truncated

    def test_long_prompt_keeps_the_template(self):
        text = _tokenizer().decode(_prompter(max_length=40).prompt_ids("word " * 100))
        assert text.startswith("<|im_start|>user\nword word")
        assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")

    def test_prompt_ids_are_those_of_the_example(self):
        prompter = _prompter(max_length=40)
        for instruction in ("How?", "word " * 100):
            example = prompter.encode(instruction, "Like this.")
            assert example.ids[: example.num_prompt].tolist() == prompter.prompt_ids(instruction)

    def test_prompt_of_just_the_limit_is_whole(self):
        length = len(_prompter().prompt_ids("How on earth?"))
        prompter = _prompter(max_length=length + 1)
        assert len(prompter.prompt_ids("How on earth?")) == length
        assert _tokenizer().decode(prompter.prompt_ids("How on earth?")).count("How on earth?") == 1

    def test_encoding_is_a_function_of_the_record(self):
        prompter = _prompter(max_length=40)
        first = prompter.encode("How?", "Like this.").ids.tolist()
        prompter.encode("Something else", "word " * 50)
        assert prompter.encode("How?", "Like this.").ids.tolist() == first


def test_very_long_texts_make_no_noise(caplog):
    tokenizer = _tokenizer(model_max_length=16)
    example = _prompter(tokenizer).encode("How?", "word " * 500)
    assert len(example.ids) == 128
    assert not caplog.records


def test_backbone_without_a_chat_template_is_refused():
    with pytest.raises(BackboneError, match=r"^model\.backbone: .*no chat template.*instruction-tuned"):
        _prompter(_tokenizer(chat_template=None))


def test_template_that_fails_is_refused():
    with pytest.raises(BackboneError, match=r"^model\.backbone: .*cannot render.*nothing works"):
        _prompter(_tokenizer(chat_template="{{ raise_exception('nothing works') }}"))


def test_template_without_the_users_text_is_refused():
    with pytest.raises(BackboneError, match=r"^model\.backbone: .*leaves out"):
        _prompter(_tokenizer(chat_template="{% for m in messages %}{{ m.role }}{% endfor %}"))


def test_too_small_a_length_is_refused_with_the_bound():
    with pytest.raises(ConfigError, match=r"^data\.max_length is 8, but .* set at least (\d+)$") as caught:
        _prompter(max_length=8)
    bound = int(str(caught.value).rpartition(" ")[2])
    example = _prompter(max_length=bound).encode("word " * 9, "Like this.")
    assert len(example.ids) == bound
    with pytest.raises(ConfigError):
        _prompter(max_length=bound - 1)


class TestChat:
    """Turns before the instruction."""

    BEFORE = (Turn("user", "Who?"), Turn("assistant", "Me."))
    EARLIER = "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\nMe.<|im_end|>\n"
    SYSTEM = Turn("system", "Be kind.")

    def _text(self, *before, **changes):
        prompter = _prompter(**changes)
        return _tokenizer().decode(prompter.prompt_ids("How?", before))

    def test_are_rendered_in_order(self):
        assert self._text(*self.BEFORE) == self.EARLIER + CHATML

    def test_a_given_system_turn_stands_whatever_the_template_inserts(self):
        given = "<|im_start|>system\nBe kind.<|im_end|>\n"
        assert self._text(self.SYSTEM, *self.BEFORE) == given + self.EARLIER + CHATML
        assert self._text(self.SYSTEM, system_prompt=True) == given + CHATML

    def test_a_template_without_system_turns_is_told(self):
        with pytest.raises(BackboneError, match="cannot render a system turn"):
            _prompter(_tokenizer("refuses")).prompt_ids("How?", (self.SYSTEM,))

    def test_only_the_last_answer_is_trained(self):
        prompter = _prompter()
        example = prompter.encode("How?", "So.", self.BEFORE)
        assert example.ids[example.num_prompt :].tolist() == prompter.response_ids("So.")
        assert not example.truncated

    def test_the_oldest_turns_go_first(self):
        whole = len(_prompter().prompt_ids("How?", (self.SYSTEM, *self.BEFORE * 2)))
        prompter = _prompter(max_length=whole)  # one token too few
        ids = prompter.prompt_ids("How?", (self.SYSTEM, *self.BEFORE * 2))
        assert ids == _prompter().prompt_ids("How?", (self.SYSTEM, *self.BEFORE))
        assert prompter.encode("How?", "So.", (self.SYSTEM, *self.BEFORE * 2)).truncated

    def test_then_the_instruction_is_cut_and_the_marks_stay(self):
        text = self._text(self.SYSTEM, Turn("user", "word " * 200), Turn("assistant", "ok"), max_length=64)
        assert text.endswith("How?<|im_end|>\n<|im_start|>assistant\n")
        assert "word" not in text
        prompter = _prompter(max_length=64)
        text = _tokenizer().decode(prompter.prompt_ids("word " * 99, (self.SYSTEM, *self.BEFORE)))
        assert text.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nword ")
        assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")

    def test_a_system_turn_without_room_goes(self):
        long = Turn("system", "word " * 99)
        assert self._text(long, max_length=64) == CHATML


class TestRaw:
    """Without the chat template."""

    def _prompter(self, tokenizer=None, **changes):
        given = {"max_length": 64, "chat_template": False} | changes
        return Prompter(tokenizer or _tokenizer(), **given)

    def test_prompt_and_response_stand_as_they_are(self):
        prompter = self._prompter(tail="\nSentiment:")
        example = prompter.encode("Review: fine\nSentiment:", "positive")
        assert _tokenizer().decode(example.ids) == "Review: fine\nSentiment: positive<|im_end|>"
        assert _tokenizer().decode(example.ids[: example.num_prompt]) == "Review: fine\nSentiment:"

    def test_a_prompt_that_ends_in_white_space_is_followed_at_once(self):
        assert _tokenizer().decode(self._prompter(tail="\n").response_ids("yes")) == "yes<|im_end|>"

    def test_the_end_of_turn_can_be_left_out_in_both_forms(self):
        assert _tokenizer().decode(self._prompter(end_of_turn=False).response_ids("yes")) == " yes"
        assert (
            _tokenizer().decode(self._prompter(chat_template=True, end_of_turn=False).response_ids("y"))
            == "y"
        )

    def test_no_chat_template_is_needed(self):
        self._prompter(_tokenizer(chat_template=None))
        with pytest.raises(BackboneError, match=r"or set data\.chat_template = false"):
            self._prompter(_tokenizer(chat_template=None), chat_template=True)

    def test_what_the_prompt_ends_with_stays(self):
        prompter = self._prompter(tail="\nSentiment:", max_length=32)
        text = _tokenizer().decode(prompter.prompt_ids("Review: " + "word " * 99 + "\nSentiment:"))
        assert text.startswith("Review: word ")
        assert text.endswith("\nSentiment:")
        chat = self._prompter(tail="\nRate:", max_length=40, chat_template=True)
        text = _tokenizer().decode(chat.prompt_ids("word " * 99 + "\nRate:"))
        assert text.endswith("\nRate:<|im_end|>\n<|im_start|>assistant\n")

    def test_a_tokenizer_that_begins_texts_begins_prompts(self):
        class Beginning:
            """A tokenizer that puts BOS before every text, as Llama's and Gemma's do."""

            def __init__(self):
                self._inner = _tokenizer()

            def __getattr__(self, name):
                return getattr(self._inner, name)

            def encode(self, text, add_special_tokens=True, **kwargs):
                ids = self._inner.encode(text, add_special_tokens=False, **kwargs)
                return [self._inner.bos_token_id, *ids] if add_special_tokens else ids

        example = self._prompter(Beginning()).encode("How?", "So.")
        assert _tokenizer().decode(example.ids) == "<|endoftext|>How? So.<|im_end|>"

    def test_settings_describe_it(self):
        data = DataSettings(
            prompt="Review: {text}\nSentiment:", chat_template=False, end_of_turn=False, max_length=64
        )
        example = Prompter.of(_tokenizer(), data).encode("Review: x\nSentiment:", "positive")
        assert _tokenizer().decode(example.ids) == "Review: x\nSentiment: positive"
        assert Prompter.of(_tokenizer(), DataSettings()).max_length == 256
