// SPDX-License-Identifier: Apache-2.0
// Pickles: the machine, the safety report and the views of values.
#include "weights/pickle/pickle.h"
#include "model/pickled.h"
#include "weights/pickle/safety.h"

#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mu::TorchObject object;
  object.data = mu::fuzzing::as_view(data, size);
  object.pickle = std::make_unique<mu::Pickle>(object.data);
  mu::report_pickle(*object.pickle);
  if (object.pickle->fault()) return 0;
  mu::pickled_kind(object);
  for (const mu::PickledField& field : mu::pickled_fields(object)) {
    mu::python_type(*object.pickle, field.value);
    mu::python_value(*object.pickle, field.value, 1000);
  }
  mu::python_value(*object.pickle, object.pickle->root(), 1000);
  return 0;
}
