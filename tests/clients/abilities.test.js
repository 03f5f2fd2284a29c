// What the official JavaScript clients can do beyond plain text, against the running product.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ollama } from "ollama";
import OpenAI from "openai";

const address = process.env.ADDRESS;
const model = "smollm2:135m";
const ollama = new Ollama({ host: address });
const openai = new OpenAI({ baseURL: `${address}/v1`, apiKey: "anything", maxRetries: 0 });
const ask = (content) => [{ role: "user", content }];
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const weather = { type: "function", function: { name: "weather", description: "The weather.", parameters: schema } };
const picture =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

test("ollama: a tool is called, whole and streamed, and its answer taken", async () => {
  const messages = ask("How is the weather in Rome?");
  const { message } = await ollama.chat({ model: "openai/agent", messages, tools: [weather] });
  assert.deepEqual(message.tool_calls[0].function.arguments, { city: "Rome" });
  const calls = [];
  for await (const part of await ollama.chat({ model: "openai/agent", messages, tools: [weather], stream: true }))
    calls.push(...(part.message.tool_calls ?? []));
  assert.deepEqual(calls.map((call) => call.function.name), ["weather"]);
  const told = await ollama.chat({
    model: "openai/agent",
    messages: [...messages, message, { role: "tool", tool_name: "weather", content: "sunny" }],
    tools: [weather],
  });
  assert.equal(told.message.content, "Paris é🎈");
});

test("ollama: tools and pictures are refused by a model without them", async () => {
  await assert.rejects(ollama.chat({ model, messages: ask("hi"), tools: [weather] }), /does not support tools/);
  const messages = [{ role: "user", content: "What is it?", images: [picture] }];
  await assert.rejects(ollama.chat({ model, messages }), /does not support images/);
  await assert.rejects(ollama.chat({ model, messages: ask("hi"), think: true }), /does not support thinking/);
});

test("ollama: thinking is apart, whole and streamed", async () => {
  const asked = { model: "openai/thinks", messages: ask("Think."), think: "low" };
  const { message } = await ollama.chat(asked);
  assert.deepEqual([message.thinking, message.content], ["Hm.", "Paris é🎈"]);
  let thinking = "";
  for await (const part of await ollama.chat({ ...asked, stream: true })) thinking += part.message.thinking ?? "";
  assert.equal(thinking, "Hm.");
});

test("ollama: a picture is taken as base64 and as bytes", async () => {
  for (const image of [picture, Uint8Array.from(Buffer.from(picture, "base64"))]) {
    const messages = [{ role: "user", content: "What is it?", images: [image] }];
    assert.equal((await ollama.chat({ model: "openai/good", messages })).message.content, "Paris é🎈");
  }
  const generated = await ollama.generate({ model: "openai/good", prompt: "What is it?", images: [picture] });
  assert.equal(generated.response, "Paris é🎈");
});

test("ollama: the embedded model keeps to a form", async () => {
  const messages = ask("What is the capital of France? Answer as JSON.");
  const options = { temperature: 0, num_predict: 64 };
  const { message } = await ollama.chat({ model, messages, format: schema, options });
  assert.equal(typeof JSON.parse(message.content).city, "string");
});

test("ollama: how likely each token was", async () => {
  const { logprobs } = await ollama.chat({
    model,
    messages: ask("Hi"),
    options: { temperature: 0, num_predict: 2 },
    logprobs: true,
    top_logprobs: 2,
  });
  assert.equal(logprobs.length, 2);
  assert.equal(logprobs[0].top_logprobs.length, 2);
});

test("ollama: one stream is aborted and another goes on; the older endpoint embeds; the version is told", async () => {
  const asked = { model, stream: true, options: { temperature: 0, num_predict: 40 } };
  const first = await ollama.chat({ ...asked, messages: ask("Tell a story about the sea.") });
  const second = await ollama.chat({ ...asked, messages: ask("Tell a story about the moon.") });
  await assert.rejects(
    async () => {
      for await (const _ of first) first.abort();
    },
    { name: "AbortError" },
  );
  let last;
  for await (const part of second) last = part;
  assert.equal(last.done, true);
  assert.equal((await ollama.embeddings({ model: "all-minilm", prompt: "A cat." })).embedding.length, 384);
  assert.match((await ollama.version()).version, /^\d+\.\d+/);
});

test("ollama: a raw prompt, and a conversation that goes on from its context", async () => {
  const options = { temperature: 0, num_predict: 4 };
  const raw = await ollama.generate({ model, prompt: "The sky is", raw: true, options });
  assert.ok(raw.response.length > 0);
  const before = await ollama.generate({ model, prompt: "My name is Ada.", options });
  const after = await ollama.generate({ model, prompt: "What is my name?", context: before.context, options });
  assert.ok(after.prompt_eval_count > before.prompt_eval_count);
});

test("openai: tools are run until the answer is there", async () => {
  const seen = [];
  const run = ({ city }) => seen.push(city) && "sunny";
  const tool = { type: "function", function: { ...weather.function, function: run, parse: JSON.parse } };
  const runner = openai.chat.completions.runTools({
    model: "openai/agent",
    messages: ask("How is it in Rome?"),
    tools: [tool],
  });
  assert.equal(await runner.finalContent(), "Paris é🎈");
  assert.deepEqual(seen, ["Rome"]);
});

test("openai: a stream is collected with its tool call, its thinking and its usage", async () => {
  const called = openai.chat.completions.stream({ model: "openai/tools", messages: ask("Rome?"), tools: [weather] });
  const { choices } = await called.finalChatCompletion();
  assert.equal(choices[0].finish_reason, "tool_calls");
  assert.deepEqual(JSON.parse(choices[0].message.tool_calls[0].function.arguments), { city: "Rome" });
  let reasoning = "";
  let usage;
  for await (const chunk of await openai.chat.completions.create({
    model: "openai/thinks",
    messages: ask("Think."),
    reasoning_effort: "low",
    stream: true,
    stream_options: { include_usage: true },
  })) {
    reasoning += chunk.choices[0]?.delta?.reasoning ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(reasoning, "Hm.");
  assert.equal(usage.completion_tokens, 2);
});

test("openai: a form is kept to and parsed", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema } };
  for (const one of ["openai/json", model]) {
    const { choices } = await openai.chat.completions.parse({
      model: one,
      messages: ask("What is the capital of France? Answer as JSON."),
      temperature: 0,
      max_tokens: 64,
      response_format,
    });
    assert.equal(typeof choices[0].message.parsed.city, "string");
  }
});

test("openai: a picture, and how likely each token was", async () => {
  const content = [
    { type: "text", text: "What is it?" },
    { type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } },
  ];
  const seen = await openai.chat.completions.create({ model: "openai/good", messages: [{ role: "user", content }] });
  assert.equal(seen.choices[0].message.content, "Paris é🎈");
  const asked = { model: "openai/logprobs", messages: ask("Likely?"), logprobs: true, top_logprobs: 1 };
  const { choices } = await openai.chat.completions.create(asked);
  assert.equal(choices[0].logprobs.content[0].top_logprobs[0].token, "par");
});

test("openai: responses, completions, models, and vectors as numbers", async () => {
  const response = await openai.responses.create({ model, input: "What is the capital of France?", temperature: 0 });
  assert.match(response.output_text, /Paris/);
  const called = await openai.responses.create({
    model: "openai/tools",
    input: "Rome?",
    tools: [{ type: "function", strict: null, ...weather.function }],
  });
  assert.equal(called.output[0].name, "weather");
  const completion = await openai.completions.create({ model, prompt: "Count.", max_tokens: 4, temperature: 0 });
  assert.equal(completion.usage.completion_tokens, 4);
  assert.equal((await openai.models.retrieve(model)).id, model);
  const asked = { model: "all-minilm", input: "A cat.", encoding_format: "float", dimensions: 8 };
  assert.equal((await openai.embeddings.create(asked)).data[0].embedding.length, 8);
});

test("openai: a stream is aborted, and what had no effect is said", async () => {
  const stream = await openai.chat.completions.create({
    model,
    messages: ask("Tell a very long story about a mountain."),
    stream: true,
  });
  let chunks = 0;
  for await (const _ of stream) if (++chunks === 2) stream.controller.abort();
  assert.ok(chunks < 50);
  const asked = { model: "openai/good", messages: ask("Twice?"), n: 2, tool_choice: "none" };
  const { response } = await openai.chat.completions.create(asked).withResponse();
  assert.equal(response.headers.get("x-orchestrator-unsupported"), "n, tool_choice");
});
