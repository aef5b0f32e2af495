package agent

import (
	"testing"

	"idlegrid/agent/internal/harvest/policy"
)

func TestQuotaOf(t *testing.T) {
	for _, c := range []struct{ given, kept, want int64 }{
		{0, policy.Unlimited, 0},
		{7, policy.Unlimited, 7},
		{0, 5, 5},
		{7, 5, 5},
		{5, 7, 5},
		{0, 0, 1},
		{7, 0, 1},
	} {
		if got := quotaOf(c.given, c.kept); got != c.want {
			t.Errorf("of %d given and %d left by the owner: %d, expected %d", c.given, c.kept, got, c.want)
		}
	}
}
