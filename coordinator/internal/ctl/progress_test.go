package ctl

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vbauerster/mpb/v8"
)

func TestProgressLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{workers: "core"}
		p.showLines(&out, 5*time.Second)
		p.Update(10, 0, 200, 2)
		time.Sleep(4 * time.Second)
		p.Update(30, 1, 200, 1)
		time.Sleep(10 * time.Second) // the second line would have nothing new
		p.Update(200, 1, 200, 1)
		p.Close()
		p.Close()
		want := "30 of 200 units, 1 failed, 4 units/s, 1 core, 43s left\n"
		if out.String() != want {
			t.Errorf("wrote %q, expected %q", out.String(), want)
		}
	})
}

func TestProgressBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{workers: "agent"}
		p.showBar(mpb.WithOutput(&out), mpb.WithAutoRefresh())
		p.Update(0, 0, 4, 3)
		time.Sleep(2 * time.Second)
		p.Update(2, 0, 4, 3)
		time.Sleep(time.Second)
		p.Update(4, 0, 4, 3)
		p.Close()
		for _, want := range []string{"0 of 4 units, 3 agents", "2 of 4 units, ", "s left", "4 of 4 units, 1.33 units/s, 3 agents"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in %q", want, out.String())
			}
		}
	})
}

func TestProgressBarEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{workers: "agent"}
		p.showBar(mpb.WithOutput(&out), mpb.WithAutoRefresh())
		p.Update(1, 1, 4, 3)
		p.Close() // must return
		if !strings.Contains(out.String(), "1 of 4 units, 1 failed, 3 agents") {
			t.Errorf("wrote %q", out.String())
		}
	})
}
