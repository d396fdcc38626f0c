// Checks a template against recorded renderings: a list of {id, context, expected | error}.
#pragma once

#include <string_view>

#include "base/result.h"
#include "base/verify_report.h"

namespace causeway::server {

// Errors: an unreadable template or cases file. A wrong rendering is a failed case. The clock is fixed at
// 2025-07-26 12:00:00 UTC, as in the reference data.
Result<VerifyReport> VerifyTemplate(std::string_view source, std::string_view cases_json);

}  // namespace causeway::server
