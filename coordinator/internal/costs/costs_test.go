package costs

import (
	"math"
	"strings"
	"testing"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

const hour = 3_600_000_000 // microseconds

func TestBill(t *testing.T) {
	s := Settings{WattsPerCore: 8, PricePerKWh: 0.25, CO2PerKWh: 400, Prices: []Price{{PerCoreHour: 0.04}, {PerCoreHour: 0.001}}}
	var spent ledger.Spend
	spent.CPU[ledger.UsefulCPU] = 900 * hour
	for _, u := range []ledger.Use{ledger.RepeatedCPU, ledger.FailedCPU, ledger.LostCPU, ledger.OverheadCPU} {
		spent.CPU[u] = 25 * hour
	}
	b := s.Bill(spent)
	for _, is := range [][2]float64{
		{b.KWh, 8}, {b.Cost, 2}, {b.CO2, 3.2}, {b.Elsewhere[0], 36}, {b.Saved(0), 34}, {b.Elsewhere[1], 0.9}, {b.Saved(1), -1.1},
	} {
		if math.Abs(is[0]-is[1]) > 1e-9 {
			t.Errorf("%+v: %v, expected %v", b, is[0], is[1])
		}
	}
	if b := s.Bill(ledger.Spend{}); b.KWh != 0 || b.Saved(0) != 0 {
		t.Errorf("of nothing: %+v", b)
	}
}

func TestChecks(t *testing.T) {
	for _, test := range []struct {
		check     func(string) error
		good, bad []string
	}{
		{CheckCurrency, []string{"EUR", "$", "US$"}, []string{"", "€", "E R", "NINELONG9", "E\n"}},
		{CheckName, []string{"a", "Wolke 7", "größer", strings.Repeat("ü", 60)}, []string{"", " a", "a ", "a\tb", "\x1b[31m", "\xff", strings.Repeat("a", 61)}},
		{CheckDate, []string{"2026-02-28", "2024-02-29"}, []string{"", "2026-02-29", "28.2.2026", "2026-2-8", "2026-02-28T00:00:00Z"}},
	} {
		for _, s := range test.good {
			if err := test.check(s); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
		for _, s := range test.bad {
			if err := test.check(s); jobs.KindOf(err) != jobs.Invalid {
				t.Errorf("%q: %v", s, err)
			}
		}
	}
}
