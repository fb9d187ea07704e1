// SPDX-License-Identifier: Apache-2.0
// Classifiers: an adapter of the task SEQ_CLS, TOKEN_CLS or QUESTION_ANS brings a head of its own, trained
// beside a base that was saved as a language model. Merged, the model is of another class. The classes and heads
// are a table, data/heads.txt, which tests/interop/head_table.py writes from Transformers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lora/merge_base.h"

namespace mu {

// The class that AutoModel takes for a type of model and a task.
struct HeadClass {
  std::string name;                // "LlamaForSequenceClassification"; empty if there is none
  std::vector<std::string> heads;  // its modules outside the base model: "score"
  std::string labels;              // the tensor with a row for each label: "score.weight"; may be empty
};

struct HeadClasses {
  std::vector<std::string> language;  // heads of the language models of the type: "lm_head"
  HeadClass of_task;
};

// Of an unknown type or another task everything is empty.
HeadClasses head_classes_of(std::string_view model_type, std::string_view task_type);

// Whether the task has a head of its own: it is one of the three.
bool is_classifier_task(std::string_view task_type);

// Whether a tensor is of the head that such an adapter trains; it has a row for each label.
bool is_label_head(std::string_view model_type, std::string_view task_type, std::string_view tensor);

// Makes the merged model one of the class that the adapters' task asks for: heads of the base's class go, and the
// config names the class and the labels. What the adapter does not tell becomes a note. Throws kRefused if the
// adapters have different tasks of this kind.
void make_classifier(MergeBase& base, const std::vector<AdapterUse>& uses);

}  // namespace mu
