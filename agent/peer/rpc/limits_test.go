package rpc

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/jobs"
)

type textAddr string

func (textAddr) Network() string  { return "test" }
func (a textAddr) String() string { return string(a) }

func TestHostOf(t *testing.T) {
	for addr, want := range map[string]string{
		"10.1.2.3:80":                "10.1.2.3",
		"[::ffff:10.1.2.3]:80":       "10.1.2.3",
		"[2001:db8:1:2:3:4:5:6]:80":  "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:80":  "2001:db8:1:2::/64",
		"[2001:db8:1:3::1]:80":       "2001:db8:1:3::/64",
		"[fe80::1%eth0]:80":          "fe80::/64",
		"name:80":                    "name",
		"pipe":                       "pipe",
		"bufconn":                    "bufconn",
		"[not closed:80":             "[not closed:80",
		"1.2.3.4.5:80":               "1.2.3.4.5",
		"[2001:db8:1:2:3:4:5:6%x]:1": "2001:db8:1:2::/64",
	} {
		if got := hostOf(textAddr(addr)); got != want {
			t.Errorf("%s: %q, expected %q", addr, got, want)
		}
	}
}

func TestLimits(t *testing.T) {
	l := limits{held: map[string]int{}}
	all, one := limit{"all", 3}, limit{"one", 2}
	first, _ := l.take(all, one)
	second, _ := l.take(all, one)
	if _, full := l.take(all, one); full != "one" {
		t.Errorf("full is %q", full)
	}
	third, full := l.take(all)
	if full != "" {
		t.Errorf("what was refused holds a place in %q", full)
	}
	if _, full := l.take(all); full != "all" {
		t.Errorf("full is %q", full)
	}
	first()
	second()
	third()
	if len(l.held) != 0 {
		t.Errorf("still held: %v", l.held)
	}
}

func TestDropsAreLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := drops{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		for range 100 {
			d.add(textAddr("10.0.0.1:1"), errors.New("no TLS"))
		}
		time.Sleep(time.Second)
		d.add(textAddr("10.0.0.1:1"), errors.New("no TLS"))
		if lines := strings.Count(out.String(), "\n"); lines != 2 || !strings.Contains(out.String(), "not_logged=99") {
			t.Errorf("%d lines:\n%s", lines, &out)
		}
	})
}

func TestPoolForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDialer(DialOptions{Dial: func(context.Context, string) (net.Conn, error) { return nil, errors.New("no") }})
		defer d.Close()
		for i := range 100 {
			c, err := d.Conn(strings.Repeat("x", i), jobs.KeyID{})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Invoke(t.Context(), "/a/b", nil, nil); err == nil {
				t.Fatal("called nobody")
			}
		}
		if len(d.pool) != 100 {
			t.Errorf("%d peers in the pool", len(d.pool))
		}
		time.Sleep(forgetAfter + time.Minute)
		if _, err := d.Conn("x", jobs.KeyID{}); err != nil {
			t.Fatal(err)
		}
		if len(d.pool) != 1 {
			t.Errorf("%d peers in the pool, expected the one of now", len(d.pool))
		}
	})
}
