package jobs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"idlegrid/jobs"
)

func TestDigestText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := jobs.DigestOf(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		back, err := jobs.ParseDigest(d.String())
		if err != nil || back != d {
			t.Fatalf("%s came back as %s, %v", d, back, err)
		}
		again, err := jobs.DigestFromBytes(d[:])
		if err != nil || again != d {
			t.Fatalf("bytes of %s came back as %s, %v", d, again, err)
		}
	})
}

// TestDigestStrict: a digest has one text form, or it could not be compared as text.
func TestDigestStrict(t *testing.T) {
	good := jobs.DigestOf(nil).String()
	for _, bad := range []string{"", good[1:], good + "0", strings.ToUpper(good), " " + good[1:], good[:63] + "g"} {
		if _, err := jobs.ParseDigest(bad); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("ParseDigest(%q): %v, expected an invalid digest", bad, err)
		}
	}
	for _, n := range []int{0, 31, 33} {
		if _, err := jobs.DigestFromBytes(make([]byte, n)); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%d bytes: %v, expected an invalid digest", n, err)
		}
	}
}

func TestShortForms(t *testing.T) {
	d := jobs.DigestOf([]byte("x"))
	if s := jobs.JobID(d).Short(); s != d.String()[:12] {
		t.Errorf("job %q", s)
	}
	if s := (jobs.UnitID{Job: jobs.JobID(d), Unit: 7}).String(); s != d.String()[:12]+"/7" {
		t.Errorf("unit %q", s)
	}
	if s := (jobs.ShardID{Job: jobs.JobID(d), Shard: 2}).LogValue().String(); s != d.String()[:12]+"#2" {
		t.Errorf("shard %q", s)
	}
}

func TestErrorKinds(t *testing.T) {
	base := errors.New("disk on fire")
	err := jobs.Errorf(jobs.Unavailable, "write: %w", base)
	wrapped := fmt.Errorf("flush: %w", jobs.WithHint(fmt.Errorf("pack: %w", err), "use %s", "water"))
	if k := jobs.KindOf(wrapped); k != jobs.Unavailable {
		t.Errorf("kind %s", k)
	}
	if h := jobs.HintOf(wrapped); h != "use water" {
		t.Errorf("hint %q", h)
	}
	if !errors.Is(wrapped, base) || wrapped.Error() != "flush: pack: write: disk on fire" {
		t.Errorf("error %q", wrapped)
	}
	if jobs.KindOf(base) != jobs.Internal || jobs.HintOf(base) != "" || jobs.HintOf(nil) != "" {
		t.Error("an error without a kind is internal and has no hint")
	}
	outer := jobs.WithHint(jobs.WithHint(err, "inner"), "outer")
	if h := jobs.HintOf(outer); h != "outer" {
		t.Errorf("the outer hint must win, got %q", h)
	}
	if h := jobs.HintOf(jobs.Errorf(jobs.Denied, "no: %w", jobs.WithHint(base, "inner"))); h != "inner" {
		t.Errorf("a hint inside is found, got %q", h)
	}
}

// TestOutside: another machine learns what is wrong with which file, and not whose folder that is in.
func TestOutside(t *testing.T) {
	opened := &fs.PathError{Op: "open", Path: filepath.Join("home", "anna", "grid", "records.db"), Err: fs.ErrPermission}
	renamed := &os.LinkError{Op: "rename", Old: filepath.Join("home", "anna", "a"), New: filepath.Join("home", "anna", "b"), Err: fs.ErrExist}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{errors.New("disk on fire"), "disk on fire"},
		{opened, "open records.db: permission denied"},
		{jobs.WithHint(jobs.Errorf(jobs.Unavailable, "write: %w", opened), "look"), "write: open records.db: permission denied"},
		{fmt.Errorf("%w, %w", renamed, opened), "rename a b: file already exists, open records.db: permission denied"},
		{errors.Join(errors.New("x"), fmt.Errorf("y: %w", renamed)), "x\ny: rename a b: file already exists"},
		{&fs.PathError{Op: "stat", Path: "x", Err: fs.ErrNotExist}, "stat x: file does not exist"},
		{&fs.PathError{Op: "stat", Err: fs.ErrNotExist}, "stat : file does not exist"},
	} {
		if got := jobs.Outside(tt.err); got != tt.want {
			t.Errorf("%q is told as %q, expected %q", tt.err, got, tt.want)
		}
	}
}

func TestNamesOfKinds(t *testing.T) {
	seen := map[string]bool{}
	for k := jobs.Internal; k <= jobs.Corrupt; k++ {
		if s := k.String(); s == "" || seen[s] || strings.HasPrefix(s, "error kind") {
			t.Errorf("error kind %d is called %q", k, s)
		}
		seen[k.String()] = true
	}
	for k := jobs.FailureExit; k <= jobs.FailureInput; k++ {
		if s := k.String(); s == "" || strings.HasPrefix(s, "failure kind") {
			t.Errorf("failure kind %d is called %q", k, s)
		}
	}
	if s := (jobs.Failure{Kind: jobs.FailureTrap, Text: "unreachable"}).String(); s != "trap: unreachable" {
		t.Errorf("failure %q", s)
	}
	if (jobs.Failure{}).Failed() {
		t.Error("the zero failure is none")
	}
}
