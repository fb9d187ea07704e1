// SPDX-License-Identifier: Apache-2.0
// Code that loads and runs this very model: a full model or an adapter, with or without a chat template.
#include <fmt/format.h>

#include <array>

#include "base/text.h"
#include "card/card_text.h"
#include "card/markdown.h"

namespace mu {

std::string model_id(const CardFacts& facts) {
  for (const std::string_view name : {"repo", "model_path", "folder_name"}) {
    if (!facts.text(name).empty()) return facts.text(name);
  }
  return facts.text("name");
}

namespace {

// A folder without a tokenizer was trained with that of its base.
std::string tokenizer_id(const CardFacts& facts) {
  const bool lent = facts.has("kind") && !facts.has("has_tokenizer") && facts.list("base_model").size() == 1;
  return lent ? facts.text("base_model") : model_id(facts);
}

constexpr std::string_view kQuestion = "Which three habits make a good laboratory notebook?",
                           kBeginning = "The first rule of a laboratory notebook is";

std::string generate_with_model(const CardFacts& facts) {
  if (!facts.has("chat_template"))
    return fmt::format("inputs = tokenizer({}, return_tensors=\"pt\").to(model.device)\n",
                       python_text(kBeginning));
  return fmt::format(
      "messages = [{{\"role\": \"user\", \"content\": {}}}]\n"
      "inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, "
      "return_tensors=\"pt\").to(model.device)\n",
      python_text(kQuestion));
}

// The class that loads the base; empty if neither the adapter nor the card tells the task.
std::string auto_class(const CardFacts& facts) {
  const std::string task = facts.text("task_type"), tag = facts.text("pipeline_tag");
  if (task == "SEQ_CLS") return "AutoModelForSequenceClassification";
  if (task == "TOKEN_CLS") return "AutoModelForTokenClassification";
  if (task == "QUESTION_ANS") return "AutoModelForQuestionAnswering";
  if (task == "SEQ_2_SEQ_LM") return "AutoModelForSeq2SeqLM";
  if (task == "FEATURE_EXTRACTION") return "AutoModel";
  if (task == "CAUSAL_LM" || tag == "text-generation") return "AutoModelForCausalLM";
  if (tag == "text-classification") return "AutoModelForSequenceClassification";
  if (tag == "token-classification") return "AutoModelForTokenClassification";
  if (tag == "question-answering") return "AutoModelForQuestionAnswering";
  return tag == "feature-extraction" ? "AutoModel" : "";
}

// The output of an encoder-decoder is only the answer; it does not use a chat template.
std::string sequence_to_sequence() {
  return fmt::format(
      "inputs = tokenizer({}, return_tensors=\"pt\").to(model.device)\n"
      "outputs = model.generate(**inputs, max_new_tokens=128)\n"
      "print(tokenizer.decode(outputs[0], skip_special_tokens=True))\n",
      python_text(kBeginning));
}

std::string adapter_code(const CardFacts& facts) {
  const std::string id = python_text(model_id(facts)), base = facts.text("base_model");
  const std::string loader = auto_class(facts);
  if (loader.empty()) return "";
  std::string code;
  if (base.empty()) {
    const std::string peft_loader =
        loader == "AutoModel" ? "AutoPeftModelForFeatureExtraction" : "AutoPeft" + loader.substr(4);
    code = fmt::format(
        "from peft import {0}\nfrom transformers import AutoTokenizer\n\nmodel = {0}.from_pretrained({1})\n",
        peft_loader, id);
  } else {
    std::string revision;
    if (facts.has("base_model_revision"))
      revision = ", revision=" + python_text(facts.text("base_model_revision"));
    // The head of a classifier is in the adapter; the base is created with a head of the same size.
    const std::string labels = facts.has("labels") ? ", num_labels=" + facts.text("labels") : "";
    code = fmt::format(
        "from peft import PeftModel\nfrom transformers import {0}, AutoTokenizer\n\n"
        "base = {0}.from_pretrained({1}{2}, dtype=\"auto\")\nmodel = PeftModel.from_pretrained(base, {3})\n",
        loader, python_text(base), revision + labels, id);
  }
  code += fmt::format("tokenizer = AutoTokenizer.from_pretrained({})\n\n",
                      python_text(facts.has("kind") || base.empty() ? tokenizer_id(facts) : base));
  if (loader == "AutoModelForSeq2SeqLM") return code + sequence_to_sequence();
  if (loader != "AutoModelForCausalLM")
    return code +
           "outputs = model(**tokenizer(\"A sentence to judge.\", return_tensors=\"pt\"))\nprint(outputs)\n";
  return code + generate_with_model(facts) +
         "outputs = model.generate(**inputs, max_new_tokens=128)\n"
         "print(tokenizer.decode(outputs[0][inputs[\"input_ids\"].shape[1]:], skip_special_tokens=True))\n";
}

// The call that a pipeline of Transformers 5 takes, by task. A task without one gets no code, rather than
// code that fails.
std::string pipeline_call(std::string_view task, bool chat) {
  if (task == "text-generation" && chat)
    return fmt::format(
        "messages = [{{\"role\": \"user\", \"content\": {}}}]\n"
        "print(pipe(messages, max_new_tokens=128, return_full_text=False)[0][\"generated_text\"])\n",
        python_text(kQuestion));
  if (task == "text-generation")
    return fmt::format("print(pipe({}, max_new_tokens=64)[0][\"generated_text\"])\n",
                       python_text(kBeginning));
  if (task == "image-text-to-text")
    return "messages = [{\"role\": \"user\", \"content\": [{\"type\": \"image\", \"url\": \"photo.jpg\"}, "
           "{\"type\": \"text\", \"text\": \"What is in this picture?\"}]}]\n"
           "print(pipe(text=messages, max_new_tokens=128, return_full_text=False)[0][\"generated_text\"])\n";
  if (task == "fill-mask") return "print(pipe(f\"Write it into the {pipe.tokenizer.mask_token}.\"))\n";
  for (const std::string_view text : {"text-classification", "token-classification", "feature-extraction"}) {
    if (task == text) return "print(pipe(\"A sentence to judge.\"))\n";
  }
  for (const std::string_view image : {"image-classification", "object-detection", "image-segmentation",
                                       "depth-estimation", "image-feature-extraction"}) {
    if (task == image) return "print(pipe(\"photo.jpg\"))\n";
  }
  for (const std::string_view audio : {"automatic-speech-recognition", "audio-classification"}) {
    if (task == audio) return "print(pipe(\"speech.wav\"))\n";
  }
  return "";
}

std::string question_answering(const std::string& id, const std::string& tokenizer,
                               const std::string& trust) {
  return fmt::format(
      "import torch\nfrom transformers import AutoModelForQuestionAnswering, AutoTokenizer\n\n"
      "tokenizer = AutoTokenizer.from_pretrained({2}{1})\n"
      "model = AutoModelForQuestionAnswering.from_pretrained({0}{1})\n\n"
      "inputs = tokenizer(\"Where are results written?\", \"Results are written into the notebook.\", "
      "return_tensors=\"pt\")\n"
      "with torch.no_grad():\n    outputs = model(**inputs)\n"
      "start, end = int(outputs.start_logits.argmax()), int(outputs.end_logits.argmax())\n"
      "print(tokenizer.decode(inputs[\"input_ids\"][0][start:end + 1]))\n",
      id, trust, tokenizer);
}

std::string full_code(const CardFacts& facts) {
  const std::string id = python_text(model_id(facts)), tokenizer = python_text(tokenizer_id(facts));
  const std::string task = facts.text("pipeline_tag");
  const std::string trust = facts.has("custom_code") ? ", trust_remote_code=True" : "";
  // For text models of this kind (T5, BART) pipeline("text-generation") returns the question.
  if (task == "text-generation" && facts.text("architecture").ends_with("ForConditionalGeneration"))
    return fmt::format(
               "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer\n\n"
               "tokenizer = AutoTokenizer.from_pretrained({2}{1})\n"
               "model = AutoModelForSeq2SeqLM.from_pretrained({0}, dtype=\"auto\"{1})\n\n",
               id, trust, tokenizer) +
           sequence_to_sequence();
  if (task == "question-answering") return question_answering(id, tokenizer, trust);
  const std::string call = pipeline_call(task, facts.has("chat_template"));
  if (call.empty()) return "";
  const bool reads_text = task.starts_with("text-") || task == "token-classification" ||
                          task == "fill-mask" || task == "feature-extraction";
  const std::string lent = reads_text && tokenizer != id ? ", tokenizer=" + tokenizer : "";
  return fmt::format("from transformers import pipeline\n\npipe = pipeline({}, model={}{}{})\n",
                     python_text(task), id, lent, trust) +
         call;
}

// vLLM accepts ranks only in steps.
std::uint64_t served_rank(std::uint64_t rank) {
  for (const std::uint64_t step : std::array<std::uint64_t, 8>{8, 16, 32, 64, 128, 256, 320, 512}) {
    if (rank <= step) return step;
  }
  return rank;
}

std::string serving(const CardFacts& facts) {
  const std::string task = facts.text("pipeline_tag");
  const std::string id = shell_word(model_id(facts)), base = facts.text("base_model");
  std::string out;
  if (facts.has("gguf_file"))
    return "With llama.cpp:\n\n" +
           md_block("sh", facts.has("repo") ? "llama-server -hf " + id
                                            : "llama-server -m " + shell_word(facts.text("gguf_file")));
  if (task != "text-generation" && task != "image-text-to-text") return "";
  if (!facts.is_adapter()) {
    const std::string tokenizer = shell_word(tokenizer_id(facts));
    const std::string lent = tokenizer == id ? "" : " --tokenizer " + tokenizer;
    out += "Served with vLLM:\n\n" + md_block("sh", "vllm serve " + id + lent);
    const bool sequence = facts.text("architecture").ends_with("ForConditionalGeneration");
    if (facts.text("quantization").empty() && !sequence && task != "image-text-to-text")
      out += "\nWith llama.cpp, after conversion (`convert_hf_to_gguf.py` takes the downloaded folder):\n\n" +
             md_block("sh",
                      "python convert_hf_to_gguf.py FOLDER --outfile model.gguf\nllama-server -m model.gguf");
    return out;
  }
  const bool lora = facts.text("peft_type") == "LORA" && !base.empty();
  if (!lora) return "";
  if (facts.has("modules_to_save") || facts.has("use_dora")) {
    return "vLLM does not serve this adapter as it is (it holds more than plain LoRA matrices); merge it "
           "into the base first.\n";
  }
  const auto rank = static_cast<std::uint64_t>(facts.number("lora_r").value_or(16));
  out +=
      "Served with vLLM:\n\n" +
      md_block("sh", fmt::format("vllm serve {} --enable-lora --max-lora-rank {} --lora-modules adapter={}",
                                 shell_word(base), served_rank(rank), id));
  out += "\nWith llama.cpp, after conversion of both:\n\n" +
         md_block("sh",
                  "python convert_lora_to_gguf.py FOLDER --outfile adapter.gguf\nllama-server -m base.gguf "
                  "--lora adapter.gguf");
  return out;
}

}  // namespace

std::string usage_region(const CardFacts& facts) {
  const bool named = facts.has("kind") || facts.has("repo");
  // A folder without config, weights and task: nothing says how to load what is not there.
  const bool unknown = facts.text("kind").starts_with("model") && !facts.has("repo") &&
                       !facts.has("architecture") && !facts.has("parameters") && !facts.has("pipeline_tag");
  if (!named || unknown) return "";
  const std::string library = facts.text("library_name");
  const bool own = library == "transformers" || library == "peft";
  const std::string code = facts.has("gguf_file") ? ""
                           : !own                 ? library_code(facts)
                           : facts.is_adapter()   ? adapter_code(facts)
                                                  : full_code(facts);
  std::string out;
  if (!code.empty()) out += "\n" + md_block("python", code);
  const std::string lines = own || facts.has("gguf_file") ? serving(facts) : "";
  if (!lines.empty()) out += "\n" + lines;
  return out.empty() ? "" : "## Usage\n" + out;
}

std::string trl_quick_start(const CardFacts& facts) {
  const std::string text = usage_region(facts);
  return text.empty() ? "" : "## Quick start" + text.substr(text.find('\n'));
}

}  // namespace mu
