package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
)

// TestErrorsTellNoPaths: whoever calls learns of no folder of this machine, which may be named by its user.
func TestErrorsTellNoPaths(t *testing.T) {
	_, err := os.Open(filepath.Join(t.TempDir(), "records.db"))
	if err = rpc.FromStatus(rpc.ToStatus(fmt.Errorf("read: %w", err))); !strings.HasPrefix(err.Error(), "read: open records.db: ") {
		t.Errorf("told as %q", err)
	}
}

func TestErrorsSurviveTheWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := jobs.ErrorKind(rapid.IntRange(0, int(jobs.Corrupt)).Draw(t, "kind"))
		text := rapid.StringN(0, 500, 2048).Draw(t, "text")
		hint := rapid.StringN(0, 200, 1024).Draw(t, "hint")
		err := jobs.Errorf(kind, "%s", text)
		if hint != "" {
			err = jobs.WithHint(err, "%s", hint)
		}
		if rapid.Bool().Draw(t, "wrapped") {
			err = fmt.Errorf("%w", err)
		}
		back := rpc.FromStatus(rpc.ToStatus(err))
		if jobs.KindOf(back) != kind || back.Error() != text || jobs.HintOf(back) != hint {
			t.Fatalf("%q %q %q came back as %q %q %q", kind, text, hint, jobs.KindOf(back), back, jobs.HintOf(back))
		}
	})
}

func TestErrorsAreBounded(t *testing.T) {
	long := strings.Repeat("ä", 10_000) + "\xff"
	hostile, err := status.New(codes.NotFound, long).WithDetails(
		&errdetails.ErrorInfo{Domain: "idlegrid", Metadata: map[string]string{"hint": strings.Repeat("ä", 10_000)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"sent":     rpc.ToStatus(jobs.WithHint(jobs.Errorf(jobs.NotFound, "%s", long), "%s", long)),
		"received": hostile.Err(),
	} {
		if n := proto.Size(status.Convert(err).Proto()); name == "sent" && n > 4096 {
			t.Errorf("%d bytes on the wire", n)
		}
		back := rpc.FromStatus(err)
		if jobs.KindOf(back) != jobs.NotFound || len(back.Error()) > 2048 || len(jobs.HintOf(back)) > 1024 ||
			len(back.Error()) < 2000 || len(jobs.HintOf(back)) < 1000 || !utf8.ValidString(back.Error()+jobs.HintOf(back)) {
			t.Errorf("%s: %s, text of %d bytes, hint of %d", name, jobs.KindOf(back), len(back.Error()), len(jobs.HintOf(back)))
		}
	}
}

func TestErrorsOfOthers(t *testing.T) {
	if rpc.ToStatus(nil) != nil || rpc.FromStatus(nil) != nil {
		t.Error("no error became one")
	}
	if !errors.Is(rpc.FromStatus(io.EOF), io.EOF) {
		t.Error("the end of a stream is lost")
	}
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		err := rpc.FromStatus(rpc.ToStatus(fmt.Errorf("wait: %w", cause)))
		if !errors.Is(err, cause) || jobs.KindOf(err) != jobs.Unavailable {
			t.Errorf("%v became %v", cause, err)
		}
		kinded := rpc.FromStatus(rpc.ToStatus(jobs.Errorf(jobs.Exhausted, "queue: %w", cause)))
		if jobs.KindOf(kinded) != jobs.Exhausted {
			t.Errorf("the kind is lost: %v", kinded)
		}
	}
	if err := rpc.FromStatus(rpc.ToStatus(errors.New("plain"))); jobs.KindOf(err) != jobs.Internal || err.Error() != "plain" {
		t.Errorf("%v", err)
	}
	for code, kind := range map[codes.Code]jobs.ErrorKind{
		codes.Unauthenticated: jobs.Denied, codes.Aborted: jobs.Unavailable, codes.Unknown: jobs.Internal,
		codes.OutOfRange: jobs.Invalid, 99: jobs.Internal,
	} {
		if err := rpc.FromStatus(status.Error(code, "text")); jobs.KindOf(err) != kind {
			t.Errorf("%s became %s", code, jobs.KindOf(err))
		}
		if err := rpc.FromStatus(rpc.ToStatus(status.Error(code, "text"))); jobs.KindOf(err) != kind {
			t.Errorf("a handler's own %s became %s", code, jobs.KindOf(err))
		}
	}
}
