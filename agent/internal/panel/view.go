package panel

import (
	"bytes"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/owner"
	"idlegrid/agent/program"
	gridv1 "idlegrid/proto/grid/v1"
)

//go:embed style.css page.html
var files embed.FS

var page = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"when":  func(ms int64) string { return time.UnixMilli(ms).Format("2 Jan 2006 15:04") },
	"clock": func(ms int64) string { return time.UnixMilli(ms).Format("Mon 15:04") },
	"id":    func(b []byte) string { return program.ShortJob(hex.EncodeToString(b)) },
	"who":   func(owner string, key []byte) string { return program.OwnerOr(owner, hex.EncodeToString(key)) },
	"cpu":   func(us uint64) string { return program.For(time.Duration(us) * time.Microsecond) },
	"bytes": program.Bytes,
	"mode":  modeOf,
	"ms":    millis,
}).ParseFS(files, "page.html"))

// view is all that the page shows.
type view struct {
	Now      time.Time
	Form     string
	First    bool
	Update   bool
	Problem  string
	Title    string
	Why      string
	Look     *gridv1.LookReply
	Units    []unitView
	Today    string
	Month    string
	Tomorrow time.Time
	Reaction string
	Chart    chart
	Why24    []*gridv1.OwnerDecision // the newest first
	History  *gridv1.HistoryReply
	Missing  string // why there is no history
	Policy   *gridv1.PolicyReply
}

type unitView struct {
	Name, For, Since, Job string
	Unit                  uint64
	Percent               int // -1: not known
	Frozen                bool
}

func (p *Panel) show(w http.ResponseWriter, r *http.Request, status int, problem string) {
	v := p.view(r, problem)
	var out bytes.Buffer
	if err := page.Execute(&out, v); err != nil {
		p.o.Log.Error("cannot render the owner's page", "err", err)
		http.Error(w, "the page failed by a fault of the program; `gridagent status` tells the same", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // a browser that has gone wants nothing
}

func (p *Panel) view(r *http.Request, problem string) *view {
	now := time.Now()
	look := p.o.Owner.Look(r.Context())
	v := &view{
		Now: now, Form: p.form, First: p.first(), Update: r.URL.Query().Get("update") == "yes", Problem: problem, Look: look,
		Title: strings.ToUpper(look.GetState()[:1]) + look.GetState()[1:], Why: whyOf(look),
		Today: program.For(time.Duration(look.GetTodayMs()) * time.Millisecond), Month: program.For(time.Duration(look.GetMonthMs()) * time.Millisecond),
		Tomorrow: owner.Tomorrow(now), Reaction: reaction(look), Policy: p.o.Owner.Policy(),
	}
	for _, u := range look.GetRunning() {
		one := unitView{
			Name: u.GetName(), Unit: u.GetUnit(), For: program.OwnerOr(u.GetOwner(), hex.EncodeToString(u.GetSubmitter())),
			Since: program.For(max(0, now.Sub(time.UnixMilli(u.GetSinceMs())))), Job: program.ShortJob(hex.EncodeToString(u.GetJob())), Percent: -1, Frozen: u.GetFrozen(),
		}
		if u.Done != nil {
			one.Percent = int(min(max(u.GetDone(), 0), 1) * 100)
		}
		v.Units = append(v.Units, one)
	}
	samples, cores := p.o.Owner.Samples()
	v.Chart = chartOf(samples, cores, now)
	v.Why24 = slices.Clone(p.o.Owner.Why().GetDecisions())
	slices.Reverse(v.Why24)
	var err error
	if v.History, err = p.o.Owner.History(jobsShown, 0); err != nil {
		p.o.Log.Warn("cannot show the history", "err", err)
		v.History, v.Missing = &gridv1.HistoryReply{}, err.Error()
	}
	return v
}

// whyOf is the reason without the word that stands above it in large letters.
func whyOf(look *gridv1.LookReply) string {
	text, had := strings.CutPrefix(look.GetWhy(), "Paused: ")
	if had && text != "" {
		text = strings.ToUpper(text[:1]) + text[1:]
	}
	return text
}

// modeOf says what work does by a decision.
func modeOf(mode string) string {
	switch harvest.Mode(mode) {
	case harvest.Run:
		return "work may run"
	case harvest.Freeze:
		return "work stands still"
	case harvest.GiveBack:
		return "work goes back"
	}
	return mode
}

// millis writes a time whose number and unit stay on one line.
func millis(us uint64) string { return strings.ReplaceAll(program.Millis(float64(us)/1000), " ", " ") }

// reaction says in words how fast work stops.
func reaction(look *gridv1.LookReply) string {
	sum := look.GetSum()
	if sum.GetCount() == 0 {
		return "No input came yet while work ran, so there is nothing to measure."
	}
	return fmt.Sprintf("Work stopped within %s of your input 99 %% of the time, and within %s half of the time; measured %s. The longest took %s.",
		millis(sum.GetP99Us()), millis(sum.GetP50Us()), program.Count(sum.GetCount(), "time"), millis(sum.GetMaxUs()))
}

// chart is the last day's processor time as bars, for an SVG of chartWidth × chartHeight.
type chart struct {
	Bars    []bar
	Summary string // the same in words
}

const (
	chartWidth  = 720
	chartHeight = 120
	day         = 24 * time.Hour
)

// bar is one sample: ours at the bottom, theirs above, idle above that up to the top.
type bar struct{ X, Width, Ours, Theirs, OursY, TheirsY string }

func chartOf(samples []harvest.Sample, cores int, now time.Time) chart {
	c := chart{Summary: "Nothing was measured yet: the first ten minutes are not over, or this PC has no owner."}
	px := func(f float64) string { return fmt.Sprintf("%.1f", f) }
	ours, theirs, n := 0.0, 0.0, 0.0
	for i, s := range samples {
		x := chartWidth * (1 - now.Sub(s.From).Seconds()/day.Seconds())
		if x < 0 || x > chartWidth || cores < 1 {
			continue
		}
		long := 10 * time.Minute
		if i+1 < len(samples) {
			long = min(long, samples[i+1].From.Sub(s.From))
		}
		own := min(max(s.Ours/float64(cores), 0), 1)
		other := min(max(s.Others/float64(cores), 0), 1-own)
		ours, theirs, n = ours+own, theirs+other, n+1
		c.Bars = append(c.Bars, bar{
			X: px(x), Width: px(chartWidth * long.Seconds() / day.Seconds()), Ours: px(own * chartHeight), Theirs: px(other * chartHeight),
			OursY: px(chartHeight * (1 - own)), TheirsY: px(chartHeight * (1 - own - other)),
		})
	}
	if n > 0 {
		c.Summary = fmt.Sprintf("While the PC was on: %.0f %% the grid's work, %.0f %% you and other programs, %.0f %% idle.",
			100*ours/n, 100*theirs/n, 100*(1-(ours+theirs)/n))
	}
	return c
}
