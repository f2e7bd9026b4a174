export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** A turn of a chat completion. */
export type Message = { role: string; content: Json; tool_calls?: Json; tool_call_id?: string };

/** The message of a chat completion's reply, as far as it is read. */
export type ReplyMessage = {
  content?: string | null;
  reasoning_content?: string | null;
  tool_calls?: { function: { name: string; arguments: string } }[];
};

/** One prompt, as `lmpipe export --format typescript` wrote it. */
export class Prompt {
  constructor(document: unknown);

  /** The body of the request for these inputs; throws if one is missing, unknown or wrong.
   * The vector is that of `embeddedText`, if demonstrations are chosen by embeddings. */
  request(inputs: { [name: string]: Json }, vector?: number[]): { [name: string]: Json };

  /** The messages of that request. */
  messages(inputs: { [name: string]: Json }, vector?: number[]): Message[];

  /** Read the outputs by name from a reply; throws if it is not in the form: then ask again. */
  parse(reply: string | ReplyMessage): { [name: string]: Json };
}
