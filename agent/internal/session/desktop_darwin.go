package session

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"idlegrid/jobs"
)

// every is how often ioreg is started: it costs some 20 ms of CPU, and without cgo there is no cheaper way. So on a
// Mac input is seen within this time and not within 100 ms.
const every = time.Second

var idleTime = regexp.MustCompile(`"HIDIdleTime" = (\d+)`)

// macDesktop asks ioreg; macOS ends the helper with the session.
type macDesktop struct {
	last state
	at   time.Time
}

func openDesktop(context.Context, *slog.Logger) (desktop, error) { return &macDesktop{}, nil }

func (d *macDesktop) look(ctx context.Context) (state, error) {
	if time.Since(d.at) < every {
		return d.last, nil
	}
	hid, err := exec.CommandContext(ctx, "/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4").Output()
	if err != nil {
		return state{}, fmt.Errorf("ioreg: %w", err)
	}
	idle, err := parseIdle(hid)
	if err != nil {
		return state{}, err
	}
	root, err := exec.CommandContext(ctx, "/usr/sbin/ioreg", "-n", "Root", "-d", "1").Output()
	if err != nil {
		return state{}, fmt.Errorf("ioreg: %w", err)
	}
	locked := bytes.Contains(root, []byte(`"CGSSessionScreenIsLocked"=Yes`))
	d.last, d.at = state{input: ago(idle), locked: &locked}, time.Now()
	return d.last, nil
}

// parseIdle reads nanoseconds.
func parseIdle(out []byte) (time.Duration, error) {
	found := idleTime.FindSubmatch(out)
	if found == nil {
		return 0, jobs.Errorf(jobs.Unavailable, "ioreg tells no HIDIdleTime")
	}
	ns, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		return 0, jobs.Errorf(jobs.Unavailable, "ioreg's HIDIdleTime: %w", err)
	}
	return time.Duration(ns), nil
}

func (*macDesktop) input() <-chan struct{} { return nil }

func (*macDesktop) close() error { return nil }
