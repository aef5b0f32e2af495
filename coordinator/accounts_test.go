package coordinator

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func keyOf(n int) jobs.KeyID { return jobs.KeyID(jobs.DigestOf([]byte{byte(n), byte(n >> 8)})) }

// newAccountant has seen a job of each of some submitters, who used as many seconds as they have numbers, and two cores
// offered for a minute.
func newAccountant(t *testing.T, submitters int, owner func(jobs.KeyID) string) *accountant {
	t.Helper()
	book, err := accounts.New(accounts.Options{Path: filepath.Join(t.TempDir(), accounts.File), Owner: owner, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	})
	look := accounts.Look{Cores: 2, Accounts: map[jobs.ShardID][]ledger.HourSpend{}}
	for n := 1; n <= submitters; n++ {
		j := records.Job{ID: jobs.JobID(keyOf(n)), Manifest: &manifest.Manifest{
			Submitter: keyOf(n), Runtime: manifest.RuntimeWasm, Units: 1, Bundle: 1, Created: noon, Expires: noon.Add(time.Hour),
		}}
		h := ledger.HourSpend{Hour: record.HourOf(noon)}
		h.CPU[ledger.UsefulCPU], h.CPU[ledger.LostCPU], h.Runs[ledger.UsefulCPU] = uint64(n)*1_000_000, 7, 1
		look.Jobs = append(look.Jobs, j)
		look.Accounts[jobs.ShardID{Job: j.ID}] = []ledger.HourSpend{h}
	}
	book.Saw(look, noon)
	book.Saw(look, noon.Add(time.Minute))
	set := costs.Settings{WattsPerCore: 5, PricePerKWh: 0.3, CO2PerKWh: 100, Currency: "EUR", Prices: []costs.Price{{Name: "a", PerCoreHour: 1, Date: "2026-11-26"}}}
	shipped := set
	shipped.WattsPerCore = 8
	return &accountant{book: book, costs: set, shipped: shipped}
}

func as(t *testing.T, role peer.Role, n int) context.Context {
	t.Helper()
	return rpc.WithCaller(t.Context(), identity.Caller{ID: keyOf(n), Role: role, NotAfter: time.Now().Add(time.Hour)})
}

func daysFrom(since, until time.Time) *gridv1.AccountsRequest {
	return &gridv1.AccountsRequest{SinceMs: since.UnixMilli(), UntilMs: until.UnixMilli()}
}

func TestAccountsByRole(t *testing.T) {
	s := newAccountant(t, 3, func(by jobs.KeyID) string { return map[jobs.KeyID]string{keyOf(1): "alice", keyOf(2): "bob"}[by] })
	day := daysFrom(noon.Add(-12*time.Hour), noon.Add(12*time.Hour))
	own, err := s.List(as(t, peer.Submitter, 1), day)
	if err != nil {
		t.Fatal(err)
	}
	if len(own.GetRows()) != 1 || own.GetOperator() || len(own.GetOffered()) != 0 {
		t.Fatalf("a submitter sees %v", own)
	}
	row := own.GetRows()[0]
	if row.GetOwner() != "alice" || jobs.KeyID(row.GetSubmitter()) != keyOf(1) || row.GetRuntime() != "wasm" || row.GetDay() != dayOf(noon) ||
		row.GetSpend().GetUsefulUs() != 1_000_000 || row.GetSpend().GetLostUs() != 7 || row.GetSpend().GetAcceptedRuns() != 1 {
		t.Errorf("a submitter's row is %v", row)
	}
	got, err := costs.FromProto(own.GetCosts())
	if err != nil || got.WattsPerCore != 5 || got.Prices[0] != s.costs.Prices[0] || strings.Join(own.GetCosts().GetShipped(), " ") != "price_per_kwh co2_grams_per_kwh prices" {
		t.Errorf("settings %+v, shipped %v, %v", got, own.GetCosts().GetShipped(), err)
	}
	all, err := s.List(as(t, peer.Operator, 9), day)
	if err != nil || len(all.GetRows()) != 3 || !all.GetOperator() || len(all.GetOffered()) != 1 || all.GetOffered()[0].GetCoreUs() != 120_000_000 {
		t.Errorf("an operator sees %v, %v", all, err)
	}
	if none, err := s.List(as(t, peer.Submitter, 9), day); err != nil || len(none.GetRows()) != 0 || none.GetOperator() || len(none.GetOffered()) != 0 {
		t.Errorf("who has no job sees %v, %v", none, err)
	}
	if before, err := s.List(as(t, peer.Operator, 9), daysFrom(noon.Add(-48*time.Hour), noon)); err != nil || len(before.GetRows())+len(before.GetOffered()) != 0 {
		t.Errorf("the days before have %v, %v", before, err)
	}
	for _, role := range []peer.Role{peer.Anonymous, peer.Agent, peer.Coordinator} {
		if reply, err := s.List(as(t, role, 1), day); jobs.KindOf(err) != jobs.Denied || reply != nil {
			t.Errorf("%s sees %v, %v", role, reply, err)
		}
	}
}

func TestAccountsAreBounded(t *testing.T) {
	s := newAccountant(t, 18_000, func(jobs.KeyID) string { return strings.Repeat("n", 128) })
	for name, req := range map[string]*gridv1.AccountsRequest{
		"nothing asked": {}, "backwards": daysFrom(noon, noon), "before 1970": {SinceMs: -1, UntilMs: 1}, "centuries": {UntilMs: 1 << 62},
	} {
		if _, err := s.List(as(t, peer.Operator, 1), req); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := s.List(as(t, peer.Operator, 1), daysFrom(noon, noon.Add(time.Hour)))
	if jobs.KindOf(err) != jobs.Exhausted || jobs.HintOf(err) != "ask for a shorter time" {
		t.Errorf("a long answer: %v", err)
	}
	if own, err := s.List(as(t, peer.Submitter, 1), daysFrom(noon, noon.Add(time.Hour))); err != nil || len(own.GetRows()) != 1 {
		t.Errorf("a short one of the same: %v", err)
	}
}
