package web

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

const hourMic = 3600e6 // microseconds of an hour

// spent are hours of useful, lost and repeated CPU time.
func spent(useful, lost, repeated uint64) (s ledger.Spend) {
	s.CPU[ledger.UsefulCPU], s.CPU[ledger.LostCPU], s.CPU[ledger.RepeatedCPU] = useful*hourMic, lost*hourMic, repeated*hourMic
	return s
}

// harvest is what a fake grid has in its accounts: of so many submitters each an hour.
func (f *fakeGrid) harvest(since, until time.Time, pass func(jobs.KeyID, string) bool) (h accounts.Harvest, err error) {
	f.asked++
	for i, who := range f.spenders {
		hour := accounts.Hour{Begin: until.Truncate(time.Hour).Add(-time.Duration(i) * time.Hour), CoreMic: 100 * hourMic}
		if pass(who, "") {
			hour.Spend = spent(10, 2, 1)
			h.By = append(h.By, accounts.Share{Name: fmt.Sprintf("%s-%02d", hostile, i), Spend: hour.Spend})
		}
		if !hour.Begin.Before(since) {
			h.Hours = append(h.Hours, hour)
		}
	}
	return h, f.fails
}

// TestHarvest: a submitter sees their own and nothing of others or of what is offered, an operator all.
func TestHarvest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(12*time.Hour + 30*time.Minute) // clear of midnight
		f := some()
		f.spenders = []jobs.KeyID{alice, bob, bob}
		p := newPage(t, f, func(o *Options) {
			o.Grid.Costs = costs.Settings{
				WattsPerCore: 10, PricePerKWh: 1, Currency: "EUR", Prices: []costs.Price{{Name: hostile, PerCoreHour: 1, Date: "2026-11-01"}},
			}
		})
		logIn(t, p, submitter()).sees("/harvest", []string{
			"<dd>10 CPU-hours</dd>", "76 %", "Your jobs", `title="Sat 1 Jan, 12:00: 10"`, `<td class="heat0"><span>0</span></td><td class="heat5" title`, "UTC.",
			"lost <span", `value="7200000000" aria-label="lost`, `<th scope="row">Fri 31<span`,
		}, "Offered", "offered", "By submitter", "alert(1)", "core-hours", "30 CPU-hours", "EUR")
		o := logIn(t, p, operator())
		text := o.sees("/harvest", []string{
			"<dd>30 CPU-hours</dd>", "<dd>300 core-hours</dd>", "13 %", "By submitter", "&lt;script&gt;alert(1)&lt;/script&gt;", "33 %", "Of offered", ">300</td>", "<p>Saved about 30 EUR against &lt;script&gt;",
			"of 2026-11-01; <code>gridctl savings",
		}, "<script>alert", "of yours")
		if n := strings.Count(text, `<td class="heat`); n != 27*24+13 || strings.Count(text, "<td></td>") != 11 {
			t.Errorf("%d hours are shown", n)
		}
		check(t, "what the chart is drawn from", text, []string{
			`<figure id="chart" hidden>`, `src="/static/harvest.js?v=`, `data-use="offered" data-us="1080000000000"`, `data-use="used" data-us="140400000000"`,
		})
		for range 10 {
			o.sees("/harvest", nil)
		}
		if f.asked != 2 {
			t.Errorf("the accounts were read %d times for two people", f.asked)
		}
		time.Sleep(harvestLife + time.Second)
		o.sees("/harvest", nil)
		if f.asked != 3 || len(p.harvests.by) != 1 {
			t.Errorf("read %d times, %d are kept", f.asked, len(p.harvests.by))
		}
		for path, want := range map[string]int{"/harvest/x": http.StatusNotFound, "/harvest?page=" + hostileQuery: http.StatusOK} {
			if w := o.get(path); w.Code != want {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
	})
}

// TestNoHarvest: it is said kindly, and what was offered all the same.
func TestNoHarvest(t *testing.T) {
	f := &fakeGrid{}
	p := newPage(t, f, nil)
	logIn(t, p, submitter()).sees("/harvest", []string{"Nothing of yours was harvested in these four weeks.", "gridctl submit job.yaml"}, "<table")
	logIn(t, p, operator()).sees("/harvest", []string{"Nothing was harvested in these four weeks."}, "<table", "Agents offered")
	f.spenders = []jobs.KeyID{bob}
	clear(p.harvests.by)
	logIn(t, p, submitter()).sees("/harvest", []string{"Nothing of yours was harvested in these four weeks."}, "<table", "offered")
	clear(p.harvests.by)
	v := harvestOf(accounts.Harvest{Hours: []accounts.Hour{{Begin: time.Now(), CoreMic: hourMic}}}, time.Now(), true)
	if v.Offered != hourMic || v.Total() != 0 {
		t.Errorf("%+v", v.period)
	}
	f.fails = jobs.Errorf(jobs.Exhausted, "more than all rows")
	clear(p.harvests.by)
	if w := logIn(t, p, operator()).get("/harvest"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "More than all rows.") {
		t.Errorf("too much: %d: %s", w.Code, w.Body)
	}
}

// TestHarvestByTheClockOnTheWall: every hour is in the cell of its day and hour in the time zone, whatever that does.
func TestHarvestByTheClockOnTheWall(t *testing.T) {
	for _, c := range []struct {
		zone, now, begin string
		day              string
		hour             int
		said             string
	}{
		{"UTC", "2026-11-27T10:30:00Z", "2026-11-27T10:00:00Z", "27 Nov", 10, "UTC"},
		{"UTC", "2026-11-27T10:30:00Z", "2026-10-31T00:00:00Z", "31 Oct", 0, "UTC"},
		{"Europe/Berlin", "2026-11-27T10:30:00Z", "2026-11-26T23:00:00Z", "27 Nov", 0, "CET, UTC+01:00"},
		{"Europe/Berlin", "2026-07-27T10:30:00Z", "2026-07-26T22:00:00Z", "27 Jul", 0, "CEST, UTC+02:00"},
		{"Europe/Berlin", "2026-10-30T10:30:00Z", "2026-10-25T00:00:00Z", "25 Oct", 2, "CET, UTC+01:00"}, // twice
		{"Europe/Berlin", "2026-10-30T10:30:00Z", "2026-10-25T01:00:00Z", "25 Oct", 2, "CET, UTC+01:00"},
		{"Europe/Berlin", "2026-04-01T10:30:00Z", "2026-03-29T01:00:00Z", "29 Mar", 3, "CEST, UTC+02:00"}, // there is no 2
		{"Asia/Kolkata", "2026-11-27T10:30:00Z", "2026-11-26T18:00:00Z", "26 Nov", 23, "IST, UTC+05:30"},
		{"Asia/Kolkata", "2026-11-27T10:30:00Z", "2026-11-26T19:00:00Z", "27 Nov", 0, "IST, UTC+05:30"},
		{"America/New_York", "2026-11-27T03:30:00Z", "2026-11-27T03:00:00Z", "26 Nov", 22, "EST, UTC-05:00"},
	} {
		zone, err := time.LoadLocation(c.zone)
		now, err2 := time.Parse(time.RFC3339, c.now)
		begin, err3 := time.Parse(time.RFC3339, c.begin)
		if err != nil || err2 != nil || err3 != nil {
			t.Fatal(err, err2, err3)
		}
		v := harvestOf(accounts.Harvest{Hours: []accounts.Hour{{Begin: begin, Spend: spent(3, 0, 0)}}}, now.In(zone), true)
		var got []string
		for _, d := range v.Days {
			for hour, cell := range d.Hours {
				if cell.Useful > 0 && d.Useful() == cell.Useful && cell.Level == heatLevels && !cell.Ahead {
					got = append(got, fmt.Sprintf("%s %d", d.Begin.Format("2 Jan"), hour))
				}
			}
		}
		if want := fmt.Sprintf("[%s %d]", c.day, c.hour); fmt.Sprint(got) != want || v.Zone != c.said || len(v.Days) != harvestDays {
			t.Errorf("%s, %s: %v in %q, expected %s in %q", c.zone, c.begin, got, v.Zone, want, c.said)
		}
	}
}

func TestHarvestOfManySubmitters(t *testing.T) {
	for n, want := range map[int]string{0: "[]", 1: "[a00 0 1]", 20: "a19 0 1]", 21: "a19 0 1 others 1 1]", 500: "a19 0 1 others 480 480]"} {
		var by []accounts.Share
		for i := range n {
			by = append(by, accounts.Share{Name: fmt.Sprintf("a%02d", i), Spend: spent(1, 0, 0)})
		}
		var got []string
		for _, r := range sharesOf(by) {
			got = append(got, fmt.Sprint(r.Name, " ", r.Others, " ", r.Total()/hourMic))
			if r.Of != uint64(n)*hourMic {
				t.Errorf("%s has a share of %d", r.Name, r.Of)
			}
		}
		if text := fmt.Sprint(got); !strings.HasSuffix(text, want) || len(got) != min(n, sharesShown+1) {
			t.Errorf("of %d: %s", n, text)
		}
	}
}

func TestLevels(t *testing.T) {
	for us, want := range map[uint64]int{0: 0, 1: 1, 200: 1, 201: 2, 999: 5, 1000: 5} {
		if got := levelOf(us, 1000); got != want {
			t.Errorf("%d of 1000 has level %d, expected %d", us, got, want)
		}
	}
	if got := levelOf(1, 1); got != heatLevels {
		t.Errorf("the only one has level %d", got)
	}
}

func TestHarvestInWords(t *testing.T) {
	for us, want := range map[uint64]string{
		0: "0", 1: "<0.01", 17e6: "<0.01", 19e6: "0.01", 3564e6: "0.99", 3590e6: "1.0", hourMic: "1.0", 9.9 * hourMic: "9.9", 9.96 * hourMic: "10", 12345.6 * hourMic: "12\u202f346",
	} {
		if got := cpuHours(us); got != want {
			t.Errorf("%d µs are %q, expected %q", us, got, want)
		}
	}
	for _, c := range []struct {
		part, whole uint64
		want        string
	}{{0, 0, "–"}, {0, 5, "0 %"}, {1, 1000, "<1 %"}, {999, 1000, "99 %"}, {5, 5, "100 %"}, {5, 4, "125 %"}, {5, 0, "–"}} {
		if got := percent(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d is %q, expected %q", c.part, c.whole, got, c.want)
		}
	}
}

// TestSaved: nothing is said where nothing was saved, or no price is known.
func TestSaved(t *testing.T) {
	s := costs.Settings{WattsPerCore: 1000, PricePerKWh: 2, Currency: "EUR", Prices: []costs.Price{{Name: "a cloud", PerCoreHour: 1, Date: "2026-11-01"}}}
	for _, c := range []struct {
		perKWh float64
		prices int
		want   string
	}{{0.2, 1, "Saved about 98 EUR against a cloud, whose price is of 2026-11-01"}, {2, 1, ""}, {0.2, 0, ""}} {
		s.PricePerKWh = c.perKWh
		with := s
		with.Prices = s.Prices[:c.prices]
		if got := savedBy(with, spent(123, 2, 1)); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// TestVendored: the version in the Makefile is that of the files in the tree, whose licence is there.
func TestVendored(t *testing.T) {
	makefile, err := os.ReadFile("../../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(string(makefile), "\nUPLOT := ")
	version, _, _ = strings.Cut(version, "\n")
	for name, want := range map[string]string{"uPlot.iife.min.js": "(v" + version + ")", "LICENSE": "The MIT License", "uPlot.min.css": ".uplot"} {
		if text, err := static.ReadFile("static/uplot/" + name); err != nil || !strings.Contains(string(text[:min(len(text), 200)]), want) {
			t.Errorf("%s lacks %q: %v", name, want, err)
		}
	}
}
