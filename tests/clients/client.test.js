// The official JavaScript clients, unchanged, against the running product.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ollama } from "ollama";
import OpenAI from "openai";

const address = process.env.ADDRESS;
const model = "smollm2:135m";
const messages = [{ role: "user", content: "What is the capital of France?" }];
const options = { temperature: 0 };
const ollama = new Ollama({ host: address });
const openai = new OpenAI({ baseURL: `${address}/v1`, apiKey: "anything", maxRetries: 0 });

test("lists and shows", async () => {
  const { models } = await ollama.list();
  assert.ok(models.some((one) => one.name === model));
  const shown = await ollama.show({ model });
  assert.equal(shown.model_info["general.architecture"], "llama");
});

test("chats whole and streamed", async () => {
  const whole = await ollama.chat({ model, messages, options });
  assert.match(whole.message.content, /Paris/);
  let text = "";
  let last;
  for await (const part of await ollama.chat({ model, messages, options, stream: true })) {
    text += part.message.content;
    last = part;
  }
  assert.equal(text, whole.message.content);
  assert.equal(last.done, true);
  assert.ok(last.eval_count > 0);
});

test("generates whole and streamed, loads, lists what runs, unloads", async () => {
  const prompt = "Count to three.";
  const whole = await ollama.generate({ model, prompt, options: { temperature: 0, num_predict: 8 } });
  assert.ok(whole.response.length > 0);
  const parts = [];
  for await (const part of await ollama.generate({ model, prompt: "Count.", options: { num_predict: 8 }, stream: true }))
    parts.push(part);
  assert.ok(parts.length > 1);
  const { models } = await ollama.ps();
  assert.ok(models.some((one) => one.name === model));
  const unloaded = await ollama.generate({ model, prompt: "", keep_alive: 0, stream: false });
  assert.equal(unloaded.done_reason, "unload");
});

test("aborts a stream", async () => {
  const client = new Ollama({ host: address });
  const stream = await client.chat({
    model,
    messages: [{ role: "user", content: "Tell a very long story about the sea." }],
    options: { temperature: 1, seed: 4 },
    stream: true,
  });
  await assert.rejects(
    async () => {
      for await (const _ of stream) client.abort();
    },
    { name: "AbortError" },
  );
});

test("names an unknown model", async () => {
  await assert.rejects(ollama.chat({ model: "nope", messages }), { status_code: 404, message: "model 'nope' not found" });
  await assert.rejects(openai.chat.completions.create({ model: "nope", messages }), { status: 404 });
});

test("speaks OpenAI, whole and streamed", async () => {
  const whole = await openai.chat.completions.create({ model, messages, temperature: 0 });
  assert.match(whole.choices[0].message.content, /Paris/);
  let text = "";
  for await (const chunk of await openai.chat.completions.create({ model, messages, temperature: 0, stream: true }))
    text += chunk.choices[0]?.delta?.content ?? "";
  assert.equal(text, whole.choices[0].message.content);
});

test("a stream that breaks off is an error", async () => {
  const asked = { model: "openai/truncated~js", messages, stream: true };
  await assert.rejects(
    async () => {
      for await (const _ of await ollama.chat(asked));
    },
    /broke off/,
  );
  await assert.rejects(
    async () => {
      for await (const _ of await openai.chat.completions.create(asked));
    },
    /broke off/,
  );
});

test("embeds", async () => {
  const input = ["A cat sits on the mat.", "A kitten rests on a rug."];
  const { embeddings } = await ollama.embed({ model: "all-minilm", input });
  assert.deepEqual(embeddings.map((one) => one.length), [384, 384]);
  const { data } = await openai.embeddings.create({ model: "all-minilm", input });
  data[0].embedding.forEach((number, place) => assert.ok(Math.abs(number - embeddings[0][place]) < 1e-6));
});
