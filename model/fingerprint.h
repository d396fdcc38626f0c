// What a model is, as one digest: for whatever outlives the process and must not be read by another model.
#pragma once

#include "base/keyed_hash.h"
#include "base/thread_pool.h"
#include "model/model.h"

namespace causeway::model {

// Of the names and of every byte of the files that the model was loaded from; `model` has weights. About 1 GB a second
// and thread.
Digest Fingerprint(const Model& model, ThreadPool& pool);

}  // namespace causeway::model
