package ledger_test

import (
	"testing"
	"time"

	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
)

func TestTermsOfTheShardsOfAJob(t *testing.T) {
	const shard = manifest.ShardBundles * 10
	m := &manifest.Manifest{
		Submitter: submitter, Units: 2*shard + 25, Bundle: 10, Quorum: 1, Retries: 3, Expires: expires,
	}
	for _, c := range []struct {
		shard        uint32
		first, units uint64
	}{
		{0, 0, shard},
		{1, shard, shard},
		{2, 2 * shard, 25},
		{3, 0, 0},
	} {
		got := ledger.TermsOf(theJob, m, c.shard)
		want := ledger.Terms{
			Job: theJob, Submitter: submitter, Shard: c.shard, First: c.first, Units: c.units, Bundle: 10,
			Quorum: 1, Retries: 3, Expires: expires,
		}
		if got != want {
			t.Errorf("shard %d: %+v, expected %+v", c.shard, got, want)
		}
		l := ledger.New(got)
		if n := l.Counts(expires.Add(-time.Second)).Open; n != c.units {
			t.Errorf("shard %d: %d units open, expected %d", c.shard, n, c.units)
		}
	}
}

func TestNextOpenSkipsWhatIsDone(t *testing.T) {
	l := ledger.New(ledger.Terms{Job: theJob, Shard: 1, First: 1000, Units: 200, Bundle: 1, Expires: expires})
	for unit := uint64(1000); unit < 1200; unit++ {
		if unit == 1063 || unit == 1064 || unit == 1199 {
			continue
		}
		r := reportOf("a", unit, 0, "x")
		r.Bundles[0].Bundle = unit
		if _, err := l.AddReport(reportID(r), r, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		from, want uint64
		ok         bool
	}{{0, 1063, true}, {1063, 1063, true}, {1064, 1064, true}, {1065, 1199, true}, {1199, 1199, true}, {1200, 0, false}} {
		if got, ok := l.NextOpen(c.from, before); got != c.want || ok != c.ok {
			t.Errorf("from %d: %d %v, expected %d %v", c.from, got, ok, c.want, c.ok)
		}
	}
}
