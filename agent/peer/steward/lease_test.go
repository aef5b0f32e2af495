package steward

import (
	"testing"
	"time"

	"idlegrid/jobs"
)

func TestLease(t *testing.T) {
	for _, test := range []struct {
		given, want Lease
		bad         bool
	}{
		{given: Lease{}, want: Lease{DefaultPeriod, DefaultTTL}},
		{given: Lease{Period: time.Second}, want: Lease{time.Second, DefaultTTL}},
		{given: Lease{Period: time.Second, TTL: 3 * time.Second}, want: Lease{time.Second, 3 * time.Second}},
		{given: Lease{Period: time.Second - 1}, bad: true},
		{given: Lease{Period: -time.Second, TTL: time.Second}, bad: true},
		{given: Lease{Period: 2 * time.Second, TTL: 6*time.Second - 1}, bad: true},
		{given: Lease{Period: time.Minute}, bad: true},
		{given: Lease{TTL: maxTTL}, want: Lease{DefaultPeriod, maxTTL}},
		{given: Lease{TTL: maxTTL + 1}, bad: true},
	} {
		err := test.given.Validate()
		if (err != nil) != test.bad || err != nil && jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%v: %v", test.given, err)
		}
		if got := test.given.OrDefault(); !test.bad && got != test.want {
			t.Errorf("%v becomes %v, expected %v", test.given, got, test.want)
		}
	}
}
