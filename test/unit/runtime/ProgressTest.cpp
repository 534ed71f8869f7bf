//===- ProgressTest.cpp ---------------------------------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/Progress.h"

#include <gtest/gtest.h>

using namespace lathe::tool;

namespace {

TEST(Progress, ReadsWhatTheCompilerTells) {
  WorkProgress work("quantize: 4 of 12");
  EXPECT_EQ(work.what, "quantize");
  EXPECT_EQ(work.done, 3u); // the fourth is under way
  EXPECT_EQ(work.total, 12u);
  for (const char *text : {"fuse", "write, 1.0 MB of 3.0 MB", "measuring what 3 of 9 steps cost",
                           "prune: '/layer of 3'", "a: x of 3", ": of 3", "a: 1 of 99999999999999999999"}) {
    EXPECT_EQ(WorkProgress(text).what, text);
    EXPECT_EQ(WorkProgress(text).total, 0u) << text;
  }
  EXPECT_EQ(WorkProgress("a: 0 of 3").done, 0u);
  EXPECT_EQ(WorkProgress("a: 7 of 3").done, 3u);
}

TEST(Progress, TellsTheTimeThatIsLeftOnceItCan) {
  EXPECT_DOUBLE_EQ(secondsLeft({"a", 3, 12}, 6), 18);
  EXPECT_DOUBLE_EQ(secondsLeft({"a", 12, 12}, 6), 0);
  EXPECT_LT(secondsLeft({"a", 1, 12}, 60), 0) << "of the first part nothing can be told";
  EXPECT_LT(secondsLeft({"a", 5, 12}, 0.5), 0);
  EXPECT_LT(secondsLeft({"a", 5, 0}, 60), 0) << "nobody knows how many there are";
}

TEST(Progress, ShowsALineOfTheTerminal) {
  EXPECT_EQ(progressLine({"fuse", 0, 0}, -1, 3.2, 80), "fuse … 3 s");
  EXPECT_EQ(progressLine({"quantize", 3, 12}, -1, 6, 80), "quantize [#####---------------] 3 of 12 … 6 s");
  EXPECT_EQ(progressLine({"quantize", 3, 12}, 150, 6, 80),
            "quantize [#####---------------] 3 of 12 … 6 s, about 3 min left");
  EXPECT_EQ(progressLine({"write", 1u << 30, 1ull << 31}, 7500, 7500, 80),
            "write [##########----------] 50 % … 2 h 5 min, about 2 h 5 min left");
  EXPECT_EQ(progressLine({"quantize", 12, 12}, 0, 60, 80),
            "quantize [####################] 12 of 12 … 60 s, about 0 s left");
  EXPECT_EQ(progressLine({std::string(100, 'x'), 0, 0}, -1, 3, 40), "3 s") << "a line that is broken can't be erased";
}

} // namespace
