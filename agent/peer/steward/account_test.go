package steward

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestAccountRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := make([]ledger.HourSpend, rapid.IntRange(0, 3).Draw(t, "hours"))
		for i := range want {
			want[i].Hour = rapid.Uint32().Draw(t, "hour")
			for u := range ledger.Uses {
				want[i].CPU[u] = rapid.Uint64().Draw(t, "cpu")
			}
			for u := range ledger.LostCPU {
				want[i].Runs[u] = rapid.Uint64().Draw(t, "runs")
			}
		}
		got, err := AccountFromProto(AccountToProto(want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v, expected %+v", got, err, want)
		}
	})
}

// TestP11AccountIsBounded: a steward that lies cannot make the reader's rows grow.
func TestP11AccountIsBounded(t *testing.T) {
	for n, ok := range map[int]bool{maxAccount: true, maxAccount + 1: false} {
		got, err := AccountFromProto(make([]*gridv1.HourlySpend, n))
		if (err == nil) != ok || ok && len(got) != n || !ok && jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%d hours: %d, %v", n, len(got), err)
		}
	}
}
