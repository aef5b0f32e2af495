package ctl

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

var (
	firstDay = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	lastDay  = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
)

// reply is of a month of two submitters, one of whom has two keys.
func reply() *gridv1.AccountsReply {
	const hour = 3_600_000_000
	key := func(n byte) []byte { d := jobs.DigestOf([]byte{n}); return d[:] }
	set := costs.Settings{WattsPerCore: 8, PricePerKWh: 0.25, CO2PerKWh: 400, Currency: "EUR", Prices: []costs.Price{
		{Name: "cloud", PerCoreHour: 0.05, Date: "2026-11-01"}, {Name: "=server", PerCoreHour: 0.001, Date: "2026-10-31"},
	}}
	return &gridv1.AccountsReply{
		Operator: true,
		Rows: []*gridv1.AccountRow{
			{Day: 20000, Submitter: key(1), Owner: "physics", Runtime: "wasm", Spend: &gridv1.Spend{UsefulUs: 900 * hour, LostUs: 50 * hour}},
			{Day: 20001, Submitter: key(2), Owner: "physics", Runtime: "wasm", Spend: &gridv1.Spend{UsefulUs: 300 * hour, RepeatedUs: 6 * hour}},
			{Day: 20001, Submitter: key(3), Owner: "=1+1", Runtime: "wasm", Spend: &gridv1.Spend{FailedUs: 2 * hour, OverheadUs: hour / 2}},
		},
		Offered: []*gridv1.OfferedDay{{Day: 20000, CoreUs: 3000 * hour}, {Day: 20001, CoreUs: 2034 * hour}},
		Costs:   costs.ToProto(set, costs.Settings{WattsPerCore: 8}),
	}
}

func show(t *testing.T, format string, r *gridv1.AccountsReply) string {
	t.Helper()
	v, err := newSavingsView(r, firstDay, lastDay)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := (&app{stdout: &out, format: format}).show(v.data()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestSavingsForPeople(t *testing.T) {
	const want = `CPU-hours
  SUBMITTER   USEFUL  REPEATED  FAILED   LOST  OVERHEAD  GOODPUT
  =1+1          0.00      0.00    2.00   0.00      0.50      0 %
  physics    1200.00      6.00    0.00  50.00      0.00     96 %
  total      1200.00      6.00    2.00  50.00      0.50     95 %

Core-hours that agents offered while the coordinator was on
  OFFERED     USED  SHARE
  5034.00  1258.50   25 %

Energy of all of it
  SUBMITTER    KWH  COST EUR  CO2 KG
  =1+1        0.02      0.01    0.01
  physics    10.05      2.51    4.02
  total      10.07      2.52    4.03

The useful ones elsewhere: cloud, 0.05 EUR a core-hour on 2026-11-01
  SUBMITTER  COST EUR  SAVED EUR
  =1+1           0.00      -0.01
  physics       60.00      57.49
  total         60.00      57.48

The useful ones elsewhere: =server, 0.001 EUR a core-hour on 2026-10-31
  SUBMITTER  COST EUR  SAVED EUR
  =1+1           0.00      -0.01
  physics        1.20      -1.31
  total          1.20      -1.32

Assumed, beside that the PCs are on anyway, so that only what busy cores take more counts
  watts_per_core     8 W       as in a new grid: nobody has set it
  price_per_kwh      0.25 EUR  coordinator.yaml
  co2_grams_per_kwh  400 g     coordinator.yaml
  prices             2         coordinator.yaml
`
	if got := show(t, formatTable, reply()); got != want {
		t.Errorf("got\n%s\nexpected\n%s", got, want)
	}
	if got := show(t, formatName, reply()); got != "=1+1\nphysics\n" {
		t.Errorf("names %q", got)
	}
}

// TestSavingsOfNothing: an operator sees what was offered, all see what would be reckoned with, and numbers are numbers.
func TestSavingsOfNothing(t *testing.T) {
	r := reply()
	r.Rows = nil
	if got := show(t, formatTable, r); !strings.HasPrefix(got, "Core-hours") || !strings.Contains(got, "  5034.00  0.00    0 %\n\nAssumed") {
		t.Errorf("got\n%s", got)
	}
	r.Offered = nil
	if got := show(t, formatTable, r); !strings.Contains(got, "     0.00  0.00      -\n") {
		t.Errorf("got\n%s", got)
	}
	var v struct {
		Submitters []any
		Total      struct{ Goodput *float64 }
		Offered    struct {
			UsedShare *float64 `json:"used_share"`
		}
	}
	if err := json.Unmarshal([]byte(show(t, formatJSON, r)), &v); err != nil || v.Submitters == nil || v.Total.Goodput != nil || v.Offered.UsedShare != nil {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestSavingsForSpreadsheets(t *testing.T) {
	const want = `since,until,submitter,useful_cpu_hours,repeated_cpu_hours,failed_cpu_hours,lost_cpu_hours,overhead_cpu_hours,goodput,energy_kwh,energy_cost,co2_kg,currency,elsewhere_cost cloud,saved cloud,elsewhere_cost =server,saved =server
2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,'=1+1,0.000000,0.000000,2.000000,0.000000,0.500000,0.000000,0.020000,0.005000,0.008000,EUR,0.000000,-0.005000,0.000000,-0.005000
2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,physics,1200.000000,6.000000,0.000000,50.000000,0.000000,0.955414,10.048000,2.512000,4.019200,EUR,60.000000,57.488000,1.200000,-1.312000
`
	if got := show(t, formatCSV, reply()); got != want {
		t.Errorf("got\n%s\nexpected\n%s", got, want)
	}
	for _, name := range []string{"=1", "+1", "-1", "@a", "\ta", "\ra"} {
		r := reply()
		r.Rows[0].Owner = name
		lines, err := csv.NewReader(strings.NewReader(show(t, formatCSV, r))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines[1:] {
			if first := line[2][0]; strings.ContainsRune("=+-@\t\r", rune(first)) {
				t.Errorf("%q is shown as %q", name, line[2])
			}
		}
	}
}

func TestSavingsRefuseWhatIsNone(t *testing.T) {
	for name, change := range map[string]func(*gridv1.AccountsReply){
		"settings":  func(r *gridv1.AccountsReply) { r.Costs.Currency = "\x1b" },
		"submitter": func(r *gridv1.AccountsReply) { r.Rows[0].Submitter = []byte{1} },
	} {
		r := reply()
		change(r)
		if v, err := newSavingsView(r, firstDay, lastDay); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

func TestSpan(t *testing.T) {
	now := time.Date(2026, 11, 27, 15, 30, 0, 0, time.Local)
	for _, test := range []struct {
		since, until string
		from, to     time.Time
	}{
		{"30d", "", now.AddDate(0, 0, -30), now},
		{"36h", "30m", now.Add(-36 * time.Hour), now.Add(-30 * time.Minute)},
		{"2026-11-01", "2026-11-27", time.Date(2026, 11, 1, 0, 0, 0, 0, time.Local), time.Date(2026, 11, 27, 0, 0, 0, 0, time.Local)},
		{"400d", "2026-11-28", now.Add(-400 * 24 * time.Hour), time.Date(2026, 11, 28, 0, 0, 0, 0, time.Local)},
	} {
		from, to, err := span(test.since, test.until, now)
		if err != nil || from.Sub(test.from).Abs() > time.Hour || !to.Equal(test.to) { // an hour: clocks may have been put back
			t.Errorf("%s %s: %s to %s, %v", test.since, test.until, from, to, err)
		}
	}
	for _, bad := range [][2]string{
		{"", ""},
		{"soon", ""},
		{"-1d", ""},
		{"-1h", ""},
		{"1.5d", ""},
		{"2026-13-01", ""},
		{"30d", "x"},
		{"1d", "1d"},
		{"0h", ""},
		{"401d", ""},
		{"99999d", ""},
		{"30d", "2026-12-01"},
	} {
		if from, to, err := span(bad[0], bad[1], now); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%q: %s to %s, %v", bad, from, to, err)
		}
	}
}
