import type { Json, Prompt } from "./prompt_reader.d.mts";

/** The text of a call's inputs whose embedding chooses demonstrations. */
export function embeddedText(prompt: Prompt, inputs: { [name: string]: Json }): string;
