#include "server/template/strftime.h"

#include <algorithm>
#include <array>

namespace causeway::server {
namespace {

constexpr std::array<const char*, 7> kDays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                              "Thursday", "Friday", "Saturday"};
constexpr std::array<const char*, 12> kMonths = {"January", "February", "March",     "April",   "May",      "June",
                                                 "July",    "August",   "September", "October", "November", "December"};

struct Calendar {
  int64_t year;
  int month, day, hour, minute, second;  // month and day from 1
  int weekday;                           // 0 is Sunday
  int year_day;                          // from 1
};

bool IsLeap(int64_t year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

// Proleptic Gregorian calendar from days since 1970-01-01 (Howard Hinnant's civil_from_days).
Calendar ToCalendar(int64_t seconds) {
  constexpr int64_t kDaySeconds = 86400;
  int64_t days = seconds / kDaySeconds;
  int64_t rest = seconds % kDaySeconds;
  if (rest < 0) {
    rest += kDaySeconds;
    --days;
  }
  Calendar c{};
  c.hour = static_cast<int>(rest / 3600);
  c.minute = static_cast<int>(rest / 60 % 60);
  c.second = static_cast<int>(rest % 60);
  c.weekday = static_cast<int>(((days + 4) % 7 + 7) % 7);
  const int64_t z = days + 719468;
  const int64_t era = (z >= 0 ? z : z - 146096) / 146097;
  const int64_t day_of_era = z - era * 146097;
  const int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t shifted_month = (5 * day_of_year + 2) / 153;  // 0 is March
  c.day = static_cast<int>(day_of_year - (153 * shifted_month + 2) / 5 + 1);
  c.month = static_cast<int>(shifted_month < 10 ? shifted_month + 3 : shifted_month - 9);
  c.year = year_of_era + era * 400 + (c.month <= 2 ? 1 : 0);
  constexpr std::array<int, 12> kBefore = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
  c.year_day = kBefore[static_cast<size_t>(c.month - 1)] + c.day + (c.month > 2 && IsLeap(c.year) ? 1 : 0);
  return c;
}

// A number padded to `width`: with zeros, or as the flag after "%" says ('-' not at all, '_' with spaces).
std::string Number(int64_t value, size_t width, char flag, char pad = '0') {
  std::string digits = std::to_string(value);
  if (flag == '-') {
    return digits;
  }
  const char fill = flag == '_' ? ' ' : flag == '0' ? '0' : pad;
  return std::string(width > digits.size() ? width - digits.size() : 0, fill) + digits;
}

// ISO 8601 week and the year that it belongs to.
std::pair<int64_t, int> IsoWeek(const Calendar& c) {
  const int weekday = (c.weekday + 6) % 7;  // Monday is 0
  const int week = (c.year_day - 1 - weekday + 10) / 7;
  const auto weeks_in = [](int64_t year) {
    const auto p = [](int64_t y) { return (y + y / 4 - y / 100 + y / 400) % 7; };
    return p(year) == 4 || p(year - 1) == 3 ? 53 : 52;
  };
  if (week < 1) {
    return {c.year - 1, weeks_in(c.year - 1)};
  }
  return week > weeks_in(c.year) ? std::pair<int64_t, int>{c.year + 1, 1} : std::pair<int64_t, int>{c.year, week};
}

std::string Directive(char code, char flag, const Calendar& c, int64_t seconds, bool* known) {
  const int hour12 = (c.hour + 11) % 12 + 1;
  const char* day = kDays[static_cast<size_t>(c.weekday)];
  const char* month = kMonths[static_cast<size_t>(c.month - 1)];
  const auto composite = [&](std::string_view format) { return FormatTime(format, seconds); };
  switch (code) {
    case 'Y': return std::to_string(c.year);
    case 'y': return Number((c.year % 100 + 100) % 100, 2, flag);
    case 'C': return Number(c.year / 100, 2, flag);
    case 'm': return Number(c.month, 2, flag);
    case 'd': return Number(c.day, 2, flag);
    case 'e': return Number(c.day, 2, flag, ' ');
    case 'H': return Number(c.hour, 2, flag);
    case 'k': return Number(c.hour, 2, flag, ' ');
    case 'I': return Number(hour12, 2, flag);
    case 'l': return Number(hour12, 2, flag, ' ');
    case 'M': return Number(c.minute, 2, flag);
    case 'S': return Number(c.second, 2, flag);
    case 'f': return "000000";
    case 'j': return Number(c.year_day, 3, flag);
    case 'U': return Number((c.year_day - 1 + 7 - c.weekday) / 7, 2, flag);
    case 'W': return Number((c.year_day - 1 + 7 - (c.weekday + 6) % 7) / 7, 2, flag);
    case 'V': return Number(IsoWeek(c).second, 2, flag);
    case 'G': return std::to_string(IsoWeek(c).first);
    case 'u': return std::to_string(c.weekday == 0 ? 7 : c.weekday);
    case 'w': return std::to_string(c.weekday);
    case 'p': return c.hour < 12 ? "AM" : "PM";
    case 'P': return c.hour < 12 ? "am" : "pm";
    case 'A': return day;
    case 'a': return std::string(day, 3);
    case 'B': return month;
    case 'b':
    case 'h': return std::string(month, 3);
    case 's': return std::to_string(seconds);
    case 'z':
    case 'Z': return "";  // a naive time has no zone
    case 'n': return "\n";
    case 't': return "\t";
    case '%': return "%";
    case 'D':
    case 'x': return composite("%m/%d/%y");
    case 'F': return composite("%Y-%m-%d");
    case 'T':
    case 'X': return composite("%H:%M:%S");
    case 'R': return composite("%H:%M");
    case 'r': return composite("%I:%M:%S %p");
    case 'c': return composite("%a %b %e %H:%M:%S %Y");
    default: *known = false; return "";
  }
}

}  // namespace

std::string FormatTime(std::string_view format, int64_t unix_seconds) {
  // The years 1 to 9999, as far as Python's calendar goes.
  unix_seconds = std::clamp<int64_t>(unix_seconds, -62135596800, 253402300799);
  const Calendar calendar = ToCalendar(unix_seconds);
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 >= format.size()) {
      out += format[i];
      continue;
    }
    size_t at = i + 1;
    const char flag = format[at] == '-' || format[at] == '_' || format[at] == '0' ? format[at] : '\0';
    at += flag != '\0';
    bool known = at < format.size();
    const std::string text = known ? Directive(format[at], flag, calendar, unix_seconds, &known) : "";
    if (known) {
      out += text;
      i = at;
    } else {
      out += '%';
    }
  }
  return out;
}

}  // namespace causeway::server
