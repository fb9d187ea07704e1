// SPDX-License-Identifier: Apache-2.0
// Code that loads a model with its own library, as the Hub shows it (huggingface.js,
// packages/tasks/src/model-libraries-snippets.ts) and the libraries' own cards do.
#include <fmt/format.h>

#include <algorithm>

#include "card/card_text.h"
#include "card/markdown.h"

namespace mu {
namespace {

bool has_prompt(const CardFacts& facts, std::string_view name) {
  const std::vector<std::string> prompts = facts.list("prompts");
  return std::any_of(prompts.begin(), prompts.end(), [name](const std::string& prompt) {
    return prompt.size() > name.size() && prompt.starts_with(name) && prompt[name.size()] == ':';
  });
}

std::string sentence_code(const CardFacts& facts) {
  const std::string known = facts.text("sentence_class");
  const bool listed = known == "CrossEncoder" || known == "SparseEncoder" || known == "MultiVectorEncoder";
  const std::string of = listed ? known : "SentenceTransformer";
  const std::string trust = facts.has("custom_code") ? ", trust_remote_code=True" : "";
  const std::string load = fmt::format("from sentence_transformers import {0}\n\nmodel = {0}({1}{2})\n", of,
                                       python_text(model_id(facts)), trust);
  constexpr std::string_view kQuery = "\"Where are results written?\"";
  constexpr std::string_view kTexts =
      "[\"Results are written into the notebook.\", \"The balance stands on the left bench.\"]";
  if (of == "CrossEncoder")
    return load +
           fmt::format("query = {}\ntexts = {}\nprint(model.predict([(query, text) for text in texts]))\n",
                       kQuery, kTexts);
  if (of != "SentenceTransformer")
    return load + fmt::format(
                      "query = model.encode_query([{}])\ntexts = model.encode_document({})\n"
                      "print(model.similarity(query, texts))\n",
                      kQuery, kTexts);
  const auto prompt = [&](std::string_view name) {
    return has_prompt(facts, name) ? fmt::format(", prompt_name=\"{}\"", name) : std::string();
  };
  if (!has_prompt(facts, "query") && !has_prompt(facts, "document"))
    return load + fmt::format(
                      "sentences = {}\nembeddings = model.encode(sentences)\n"
                      "print(model.similarity(embeddings, embeddings))\n",
                      kTexts);
  return load + fmt::format(
                    "query = model.encode([{}]{})\ntexts = model.encode({}{})\n"
                    "print(model.similarity(query, texts))\n",
                    kQuery, prompt("query"), kTexts, prompt("document"));
}

std::string setfit_code(const CardFacts& facts) {
  return fmt::format(
      "from setfit import SetFitModel\n\nmodel = SetFitModel.from_pretrained({})\n"
      "print(model.predict([\"A sentence to judge.\"]))\n",
      python_text(model_id(facts)));
}

std::string timm_code(const CardFacts& facts) {
  const std::string place = facts.has("repo") ? "hf-hub:" : "local-dir:";
  const bool features = facts.text("pipeline_tag") == "image-feature-extraction";
  return fmt::format(
      "import timm\nimport torch\nfrom PIL import Image\n\n"
      "model = timm.create_model({}, pretrained=True).eval()\n"
      "config = timm.data.resolve_model_data_config(model)\n"
      "transform = timm.data.create_transform(**config, is_training=False)\n"
      "image = transform(Image.open(\"photo.jpg\").convert(\"RGB\")).unsqueeze(0)\n"
      "with torch.no_grad():\n    print(model(image){})\n",
      python_text(place + model_id(facts)), features ? ".shape" : ".softmax(-1).topk(1)");
}

// The call of a pipeline, by task; empty for a task whose inputs are not known.
std::string diffusion_call(std::string_view task, bool prompted) {
  constexpr std::string_view kPrompt = "\"A laboratory notebook on a wooden bench, soft light\"";
  if (task == "text-to-image")
    return fmt::format("image = pipe({}).images[0]\nimage.save(\"image.png\")\n", kPrompt);
  if (task == "unconditional-image-generation") return "pipe().images[0].save(\"image.png\")\n";
  if (task == "image-to-image")
    return fmt::format(
        "image = pipe(prompt={}, image=load_image(\"photo.png\")).images[0]\n"
        "image.save(\"image.png\")\n",
        kPrompt);
  if (task == "text-to-video")
    return fmt::format("export_to_video(pipe(prompt={}).frames[0], \"video.mp4\")\n", kPrompt);
  if (task == "image-to-video")
    return fmt::format("export_to_video(pipe(image=load_image(\"photo.png\"){}).frames[0], \"video.mp4\")\n",
                       prompted ? fmt::format(", prompt={}", kPrompt) : "");
  return "";
}

std::string diffusers_code(const CardFacts& facts) {
  const std::string task = facts.text("pipeline_tag"), base = facts.text("base_model");
  const bool lora = facts.is_adapter();
  const bool prompted = facts.text("pipeline_class") != "StableVideoDiffusionPipeline";
  const std::string call = diffusion_call(task, prompted);
  // Other files of a pipeline than its whole, and a LoRA of an unknown base, load nothing by themselves.
  if (call.empty() || (lora && base.empty()) || (!lora && !facts.has("pipeline_class"))) return "";
  std::string utilities;
  if (call.find("load_image") != std::string::npos) utilities = "load_image";
  if (call.find("export_to_video") != std::string::npos)
    utilities = utilities.empty() ? "export_to_video" : "export_to_video, load_image";
  std::string code = "import torch\nfrom diffusers import DiffusionPipeline\n";
  if (!utilities.empty()) code += fmt::format("from diffusers.utils import {}\n", utilities);
  code += fmt::format(
      "\npipe = DiffusionPipeline.from_pretrained({}, torch_dtype=torch.bfloat16, device_map=\"cuda\")\n",
      python_text(lora ? base : model_id(facts)));
  if (lora) {
    const std::string file = facts.text("lora_file");
    const bool usual = file.empty() || file.starts_with("pytorch_lora_weights.");
    code += fmt::format("pipe.load_lora_weights({}{})\n", python_text(model_id(facts)),
                        usual ? "" : ", weight_name=" + python_text(file));
  }
  return code + call;
}

}  // namespace

std::string library_code(const CardFacts& facts) {
  const std::string library = facts.text("library_name");
  if (library == "sentence-transformers") return sentence_code(facts);
  if (library == "setfit") return setfit_code(facts);
  if (library == "timm") return timm_code(facts);
  return library == "diffusers" ? diffusers_code(facts) : "";
}

}  // namespace mu
