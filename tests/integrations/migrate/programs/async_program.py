"""Translate a text into several languages at once."""

import asyncio

import dspy


class Translate(dspy.Signature):
    """Translate a text."""

    text: str = dspy.InputField()
    language: str = dspy.InputField()
    translation: str = dspy.OutputField()


class Translator(dspy.Module):
    def __init__(self, languages=("German", "French")):
        self.languages = languages
        self.translate = dspy.Predict(Translate)
        self.choose = dspy.ChainOfThought("text, translations: list[str] -> best: str")

    async def aforward(self, text: str):
        calls = [self.translate.acall(text=text, language=language) for language in self.languages]
        results = await asyncio.gather(*calls)
        translations = [result.translation for result in results]
        chosen = await self.choose.acall(text=text, translations=translations)
        return dspy.Prediction(translations=translations, best=chosen.best)


async def main():
    dspy.configure(lm=dspy.LM("openai/gpt-4o-mini"))
    translator = Translator()
    print(await translator.acall(text="Good morning"))


if __name__ == "__main__":
    asyncio.run(main())
