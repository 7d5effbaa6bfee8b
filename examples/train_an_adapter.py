"""Train a LoRA adapter on a few chats, and ask the model with and without it (about a minute)."""

from course_utils import Recipe, attached, chat, load_generator, train
from course_utils.models.generator import LanguageModel

colors = {"red": "warm", "orange": "warm", "yellow": "warm", "blue": "cold", "cyan": "cold"}
examples = [
    [
        {"role": "user", "content": f"Color: {color}"},
        {"role": "assistant", "content": f"<{label}>"},
    ]
    for color, label in colors.items()
]
llm = load_generator()
assert isinstance(llm, LanguageModel), "An endpoint cannot be trained here."
adapter = train(llm, examples, Recipe(epochs=8, tokens_per_step=128))
print("without:", chat(llm, "Color: green", max_new_tokens=8))
with attached(llm, adapter):
    print("with:   ", chat(llm, "Color: green", max_new_tokens=8))
