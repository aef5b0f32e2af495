package ctl

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"idlegrid/coordinator/internal/pace"
)

// lineEvery is how often progress is written where there is no terminal, if there was any.
const lineEvery = 5 * time.Second

// progress shows how far a job is: a bar on a terminal, else a line every few seconds. Write no message
// between its start and Close.
type progress struct {
	workers string // what works: "core" or "agent"
	close   func() // ends the showing, and returns when it has ended

	mu    sync.Mutex // guards everything below
	state progressState
	pace  pace.Pace
}

type progressState struct {
	done, failed, total uint64 // done includes failed
	workers             int
}

// startProgress shows progress on standard error until Close. workers is the noun for one of what works.
func (a *app) startProgress(workers string) *progress {
	p := &progress{workers: workers}
	if isTerminal(a.stderr) {
		p.showBar(mpb.WithOutput(a.stderr))
	} else {
		p.showLines(a.stderr, lineEvery)
	}
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// Update says how many units are done, failed ones among them, and how many work on the rest. What the
// first call calls done counts for no rate.
func (p *progress) Update(done, failed, total uint64, workers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = progressState{done: done, failed: failed, total: total, workers: workers}
	p.pace.Add(time.Now(), done)
}

// Close ends the showing. The state that was reached stays on the screen.
func (p *progress) Close() { p.close() }

// showBar draws a bar until it is closed, a few times a second.
func (p *progress) showBar(options ...mpb.ContainerOption) {
	screen := mpb.New(append(options, mpb.WithWidth(80))...)
	bar := screen.New(0, mpb.BarStyle().Rbound("]").Lbound("["),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return p.text(time.Now()) })))
	p.every(200*time.Millisecond, func(last bool) {
		s := p.snapshot()
		bar.SetTotal(int64(s.total), last && s.done == s.total) // at most manifest.MaxUnits
		bar.SetCurrent(int64(s.done))                           // at most manifest.MaxUnits
		if last {
			bar.Abort(false) // of no effect on a complete one
			screen.Wait()
		}
	})
}

// showLines writes a line at intervals, if there is anything new.
func (p *progress) showLines(w io.Writer, interval time.Duration) {
	before := p.snapshot()
	p.every(interval, func(last bool) {
		if s := p.snapshot(); s != before && !last {
			before = s
			_, _ = fmt.Fprintln(w, p.text(time.Now())) // Where standard error is closed nobody reads it.
		}
	})
}

// every sets close, and calls show at intervals until then and once more.
func (p *progress) every(interval time.Duration, show func(last bool)) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	p.close = sync.OnceFunc(func() {
		close(stop)
		<-stopped
	})
	go func() {
		defer close(stopped)
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
				show(false)
			case <-stop:
				show(true)
				return
			}
		}
	}()
}

func (p *progress) snapshot() progressState {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state
}

// text returns such as "37 of 200 units, 2 failed, 12.3 units/s, 4 cores, 13s left".
func (p *progress) text(now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.state
	parts := []string{fmt.Sprintf("%d of %s", s.done, count(s.total, "unit"))}
	if s.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", s.failed))
	}
	rate := p.pace.Rate(now, s.done)
	if rate > 0 {
		parts = append(parts, fmt.Sprintf("%.3g units/s", rate))
	}
	parts = append(parts, count(s.workers, p.workers))
	if rate > 0 && s.done < s.total {
		parts = append(parts, pace.Left(s.total-s.done, rate)+" left")
	}
	return strings.Join(parts, ", ")
}
