// SPDX-License-Identifier: Apache-2.0
#include "model/tied.h"

#include <doctest/doctest.h>

#include "model/input.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

Weights named(const std::vector<std::string>& names) {
  Weights weights;
  weights.files.emplace_back();
  for (const std::string& name : names) weights.tensors.push_back({name, Dtype::kF16, {2}, 0, 0, 4});
  return weights;
}

Ties ties_of(const std::string& config, const std::vector<std::string>& names) {
  return {parse_model_config(config), named(names)};
}

// "head = embedding", sorted and joined; the names a loader would put back.
std::string pairs(const std::string& config, const std::vector<std::string>& names) {
  std::string text;
  for (const TiedName& pair : ties_of(config, names).pairs())
    text += (text.empty() ? "" : ", ") + pair.dropped + " = " + pair.kept;
  return text;
}

}  // namespace

TEST_CASE("tied: the rule of the class names what is kept, the config switches it on") {
  struct Row {
    const char* config;
    std::vector<std::string> names;
    const char* pairs;
  };
  const Row rows[] = {
      {R"({"architectures":["LlamaForCausalLM"],"tie_word_embeddings":true})",
       {"lm_head.weight", "model.embed_tokens.weight", "x_lm_head.weight"},
       "lm_head.weight = model.embed_tokens.weight"},
      {R"({"architectures":["LlamaForCausalLM"]})", {"lm_head.weight", "model.embed_tokens.weight"}, ""},
      {R"({"architectures":["Gemma2ForCausalLM"]})",
       {"lm_head.weight", "model.embed_tokens.weight"},
       "lm_head.weight = model.embed_tokens.weight"},
      {R"({"architectures":["Gemma2ForCausalLM"],"tie_word_embeddings":false})",
       {"lm_head.weight", "model.embed_tokens.weight"},
       ""},
      {R"({"architectures":["BloomForCausalLM"]})",
       {"lm_head.weight", "transformer.word_embeddings.weight"},
       "lm_head.weight = transformer.word_embeddings.weight"},
      {R"({"architectures":["ModernBertForMaskedLM"]})",
       {"decoder.weight", "model.embeddings.tok_embeddings.weight"},
       "decoder.weight = model.embeddings.tok_embeddings.weight"},
      // A file of the base model lacks the prefix.
      {R"({"architectures":["GPT2LMHeadModel"]})",
       {"lm_head.weight", "wte.weight"},
       "lm_head.weight = wte.weight"},
      // The class ties whatever the config says.
      {R"({"architectures":["T5ForConditionalGeneration"],"tie_word_embeddings":false})",
       {"lm_head.weight", "shared.weight", "encoder.embed_tokens.weight"},
       "lm_head.weight = shared.weight, encoder.embed_tokens.weight = shared.weight"},
      // Without a class the base class of the type counts, which has no head.
      {R"({"model_type":"gpt2"})", {"lm_head.weight", "wte.weight"}, ""},
      {R"({"model_type":"bart"})",
       {"encoder.embed_tokens.weight", "shared.weight"},
       "encoder.embed_tokens.weight = shared.weight"},
      {R"({"architectures":["OwnForCausalLM"],"tie_word_embeddings":true})",
       {"lm_head.weight", "model.embed_tokens.weight"},
       ""},
      {R"({"architectures":["LlamaForCausalLM"],"tie_word_embeddings":true,"auto_map":{"AutoModelForCausalLM":"m.L"}})",
       {"lm_head.weight", "model.embed_tokens.weight"},
       ""},
      {R"({"architectures":["LlamaForCausalLM"],"tie_word_embeddings":true,"auto_map":{"AutoTokenizer":["t.T",null]}})",
       {"lm_head.weight", "model.embed_tokens.weight"},
       "lm_head.weight = model.embed_tokens.weight"},
      {"{}", {"lm_head.weight", "model.embed_tokens.weight"}, ""},
  };
  for (const Row& row : rows) {
    CAPTURE(std::string(row.config));
    CHECK(pairs(row.config, row.names) == row.pairs);
  }
}

TEST_CASE("tied: the flag is that of the config that owns the rule") {
  const std::vector<std::string> llava = {"lm_head.weight", "model.language_model.embed_tokens.weight"},
                                 old_llava = {"language_model.lm_head.weight",
                                              "language_model.model.embed_tokens.weight"},
                                 blip2 = {"language_model.lm_head.weight",
                                          "language_model.model.decoder.embed_tokens.weight"};
  const std::string config = R"({"architectures":["LlavaForConditionalGeneration"])";
  CHECK(pairs(config + "}", llava).empty());
  CHECK_FALSE(pairs(config + R"(,"tie_word_embeddings":true})", llava).empty());
  CHECK_FALSE(
      pairs(config + R"(,"text_config":{"model_type":"qwen2","tie_word_embeddings":true}})", llava).empty());
  CHECK_FALSE(pairs(config + R"(,"text_config":{"model_type":"gemma"}})", llava).empty());
  CHECK(pairs(config + R"(,"text_config":{"model_type":"qwen2"}})", llava).empty());
  CHECK(pairs(config + R"(,"text_config":{"model_type":"gemma"}})", old_llava) ==
        "language_model.lm_head.weight = language_model.model.embed_tokens.weight");
  // The class of the part depends on its config.
  const std::string blip = R"({"architectures":["Blip2ForConditionalGeneration"],"text_config":)";
  CHECK_FALSE(pairs(blip + R"({"model_type":"opt"}})", blip2).empty());
  CHECK(pairs(blip + R"({"model_type":"opt","tie_word_embeddings":false}})", blip2).empty());
  CHECK(pairs(blip + R"({"model_type":"t5"}})",
              {"language_model.lm_head.weight", "language_model.shared.weight"}) ==
        "language_model.lm_head.weight = language_model.shared.weight");
  // PerceptionLM asks the config inside only if its own is silent; VibeVoice asks nothing else.
  const std::string perception = R"({"architectures":["PerceptionLMForConditionalGeneration"],)",
                    inside = R"("text_config":{"model_type":"llama","tie_word_embeddings":true}})";
  CHECK_FALSE(pairs(perception + inside, llava).empty());
  CHECK(pairs(perception + R"("tie_word_embeddings":false,)" + inside, llava).empty());
  CHECK_FALSE(pairs(perception + R"("tie_word_embeddings":null,)" + inside, llava).empty());
}

TEST_CASE("tied: rules of numbered modules and those that a config changes") {
  const std::vector<std::string> marian = {"lm_head.weight", "model.shared.weight",
                                           "model.decoder.embed_tokens.weight",
                                           "model.encoder.embed_tokens.weight"};
  CHECK(pairs(R"({"architectures":["MarianMTModel"]})", marian) ==
        "lm_head.weight = model.shared.weight, model.decoder.embed_tokens.weight = model.shared.weight, "
        "model.encoder.embed_tokens.weight = model.shared.weight");
  CHECK(pairs(R"({"architectures":["MarianMTModel"],"share_encoder_decoder_embeddings":false})", marian) ==
        "lm_head.weight = model.decoder.embed_tokens.weight");
  std::vector<std::string> zamba;
  for (const char* layer : {"6", "12", "18", "24", "3"})
    zamba.push_back("model.layers." + std::string(layer) + ".shared_transformer.o.weight");
  CHECK(pairs(R"({"architectures":["Zamba2ForCausalLM"],"num_mem_blocks":2})", zamba) ==
        "model.layers.12.shared_transformer.o.weight = model.layers.3.shared_transformer.o.weight, "
        "model.layers.18.shared_transformer.o.weight = model.layers.6.shared_transformer.o.weight, "
        "model.layers.24.shared_transformer.o.weight = model.layers.3.shared_transformer.o.weight");
  CHECK(pairs(R"({"architectures":["BarkFineModel"]})",
              {"lm_heads.0.weight", "input_embeds_layers.0.weight", "input_embeds_layers.1.weight"}) ==
        "lm_heads.0.weight = input_embeds_layers.1.weight");
  const std::vector<std::string> boxes = {"bbox_embed.0.layers.0.bias", "bbox_embed.1.layers.0.bias",
                                          "model.decoder.bbox_embed.1.layers.0.bias"};
  const std::string dino = R"({"architectures":["GroundingDinoForObjectDetection"])";
  CHECK(pairs(dino + "}", boxes) ==
        "bbox_embed.1.layers.0.bias = bbox_embed.0.layers.0.bias, "
        "model.decoder.bbox_embed.1.layers.0.bias = bbox_embed.0.layers.0.bias");
  CHECK(pairs(dino + R"(,"decoder_bbox_embed_share":false})", boxes) ==
        "model.decoder.bbox_embed.1.layers.0.bias = bbox_embed.1.layers.0.bias");
  CHECK(pairs(dino + R"(,"tie_word_embeddings":false})", boxes).empty());
}

TEST_CASE("tied: a name that is not stored finds its source, and a source its names") {
  const Ties ties = ties_of(R"({"architectures":["Gemma2ForCausalLM"]})", {"model.embed_tokens.weight"});
  CHECK(ties.kept_name_of("lm_head.weight") == "model.embed_tokens.weight");
  CHECK(ties.kept_name_of("model.embed_tokens.weight").empty());
  CHECK(ties.names_tied_to("model.embed_tokens.weight") == std::vector<std::string>{"lm_head.weight"});
  CHECK(ties.names_tied_to("model.norm.weight").empty());
  const std::optional<std::vector<TiedName>> needed = ties.names_to_untie();
  REQUIRE(needed);
  REQUIRE(needed->size() == 1);
  CHECK(needed->front().dropped == "lm_head.weight");
  CHECK_FALSE(
      ties_of(R"({"architectures":["T5ForConditionalGeneration"]})", {"shared.weight"}).names_to_untie());
}

TEST_CASE("tied: what an untied model lacks") {
  const std::string untied = R"("tie_word_embeddings":false})";
  const auto missing = [&](const std::string& cls, const std::vector<std::string>& names) {
    return ties_of(R"({"architectures":[")" + cls + "\"]," + untied, names).missing().size();
  };
  CHECK(missing("LlamaForCausalLM", {"model.embed_tokens.weight"}) == 1);
  CHECK(missing("LlamaForCausalLM", {"lm_head.weight"}) == 0);
  CHECK(missing("LlamaForCausalLM", {"lm_head.qweight"}) == 0);
  CHECK(missing("LlamaForCausalLM", {"module.lm_head.weight"}) == 0);
  CHECK(missing("LlamaForCausalLM", {"xlm_head.weight", "lm_header.weight"}) == 1);
  CHECK(missing("RwkvForCausalLM", {"rwkv.blocks.0.attention.output.weight"}) == 1);
  CHECK(missing("RwkvForCausalLM", {"head.weight"}) == 0);
  CHECK(missing("MusicgenForCausalLM", {"lm_heads.0.weight"}) == 0);
  CHECK(missing("BertLMHeadModel", {"cls.predictions.decoder.weight"}) == 0);
  CHECK(missing("RobertaForCausalLM", {"lm_head.decoder.weight"}) == 0);
  CHECK(missing("ModernBertDecoderForCausalLM", {"decoder.weight"}) == 0);
  CHECK(missing("OwnForCausalLM", {"model.embed_tokens.weight"}) == 0);
  CHECK(missing("LlamaModel", {"embed_tokens.weight"}) == 0);
}

TEST_CASE("tied: false is written where the flag is read, and nowhere else") {
  const auto edited = [](const std::string& text) {
    return with_untied_embeddings(parse_model_config(text));
  };
  CHECK(edited(R"({"architectures":["Gemma2ForCausalLM"]})") ==
        "{\n  \"tie_word_embeddings\": false,\"architectures\":[\"Gemma2ForCausalLM\"]}");
  CHECK(edited(R"({"architectures":["LlamaForCausalLM"],"tie_word_embeddings": true})") ==
        R"({"architectures":["LlamaForCausalLM"],"tie_word_embeddings": false})");
  CHECK(
      edited(
          R"({"architectures":["LlavaForConditionalGeneration"],"tie_word_embeddings":false,"text_config":{"model_type":"qwen2","tie_word_embeddings":true}})") ==
      R"({"architectures":["LlavaForConditionalGeneration"],"tie_word_embeddings":false,"text_config":{"model_type":"qwen2","tie_word_embeddings":false}})");
  const std::string forced = R"({"architectures":["T5ForConditionalGeneration"]})";
  CHECK(edited(forced) == forced);
}

TEST_CASE("tied: a shared storage is one tensor only where a rule ties its names") {
  const Weights weights = named({"lm_head.weight", "transformer.word_embeddings.weight", "other.weight"});
  const auto found = [&](const char* config) {
    return find_tied(config == nullptr ? std::nullopt : std::optional(parse_model_config(config)), weights);
  };
  const FoundTies bloom = found(R"({"architectures":["BloomForCausalLM"]})");
  REQUIRE(bloom.tied.size() == 1);
  CHECK(bloom.tied[0].dropped == "lm_head.weight");
  CHECK(bloom.tied[0].kept == "transformer.word_embeddings.weight");
  CHECK(bloom.tied[0].same_storage);
  REQUIRE(bloom.notes.size() == 1);
  CHECK(
      bloom.notes[0] ==
      "'other.weight', 'transformer.word_embeddings.weight' share their storage, but no rule of Transformers "
      "ties them in BloomForCausalLM: each is written");
  for (const auto& [config, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {nullptr, "there is no config.json"},
           {R"({"architectures":["BloomForCausalLM"],"tie_word_embeddings":false})",
            "config.json does not tie them"},
           {R"({"architectures":["OwnForCausalLM"]})", "no rule of Transformers ties them in OwnForCausalLM"},
           {R"({"architectures":["BloomForCausalLM"],"auto_map":{"AutoModel":"m.B"}})",
            "the model has code of its own (auto_map)"},
           {"{}", "config.json names no class that Transformers knows"}}) {
    const FoundTies none = found(config);
    CHECK(none.tied.empty());
    REQUIRE(none.notes.size() == 1);
    CHECK(none.notes[0] ==
          "'lm_head.weight', 'other.weight', 'transformer.word_embeddings.weight' share their storage, but " +
              std::string(why) + ": each is written");
  }
}

TEST_CASE("tied: what is written once is not said to be written twice") {
  const Weights weights = named({"bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"});
  const FoundTies bert = find_tied(parse_model_config(R"({"architectures":["BertForMaskedLM"]})"), weights);
  CHECK(bert.tied.size() == 1);
  CHECK(bert.notes.empty());
}

TEST_CASE("tied: the time to find the turn of a numbered module does not grow with their number") {
  std::vector<std::string> names;
  for (int i = 0; i < 50'000; ++i)
    names.push_back("model.layers." + std::to_string(i) + ".shared_transformer.o.weight");
  const ModelConfig zamba =
      parse_model_config(R"({"architectures":["Zamba2ForCausalLM"],"num_mem_blocks":2})");
  CHECK(Ties(tie_rules_of(zamba), names).pairs().size() == 49'998);
}

TEST_CASE("tied: every rule of every class ends") {
  const TieRules all = tie_rules_of_any_class();
  CHECK(all.rules.size() > 100);
  std::vector<std::string> names;
  for (const TieRule& rule : all.rules) {
    for (const TieNames& pair : rule.names) {
      names.push_back(pair.target);
      names.push_back(pair.source);
    }
  }
  const Ties ties(all, names);
  for (const TiedName& pair : ties.pairs()) CHECK(pair.dropped != pair.kept);
}
