package rpc

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"idlegrid/jobs"
)

const (
	// maxErrorText and maxHint bound what travels of an error, and what is believed of one that arrives, in
	// bytes. Encoded as trailers (the text twice, once with up to three bytes for one) they stay below maxHeaders.
	maxErrorText = 2 << 10
	maxHint      = 1 << 10

	errorDomain = "idlegrid"
	hintField   = "hint"
)

// codeOf and kindOf are inverse on the codes of kinds, so that the kind needs no field of its own.
func codeOf(k jobs.ErrorKind) codes.Code {
	switch k {
	case jobs.Invalid:
		return codes.InvalidArgument
	case jobs.Denied:
		return codes.PermissionDenied
	case jobs.NotFound:
		return codes.NotFound
	case jobs.Exists:
		return codes.AlreadyExists
	case jobs.Exhausted:
		return codes.ResourceExhausted
	case jobs.Unavailable:
		return codes.Unavailable
	case jobs.Unsupported:
		return codes.Unimplemented
	case jobs.Expired:
		return codes.FailedPrecondition
	case jobs.Corrupt:
		return codes.DataLoss
	default:
		return codes.Internal
	}
}

func kindOf(c codes.Code) jobs.ErrorKind {
	switch c {
	case codes.InvalidArgument, codes.OutOfRange:
		return jobs.Invalid
	case codes.PermissionDenied, codes.Unauthenticated:
		return jobs.Denied
	case codes.NotFound:
		return jobs.NotFound
	case codes.AlreadyExists:
		return jobs.Exists
	case codes.ResourceExhausted:
		return jobs.Exhausted
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Aborted:
		return jobs.Unavailable
	case codes.Unimplemented:
		return jobs.Unsupported
	case codes.FailedPrecondition:
		return jobs.Expired
	case codes.DataLoss:
		return jobs.Corrupt
	default:
		return jobs.Internal
	}
}

// ToStatus returns err as a gRPC status: the code of its kind, its text for outside, and its hint in a detail. An error
// without a kind is Internal, unless it comes from a context or is a status already.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	var kinded *jobs.Error
	if !errors.As(err, &kinded) {
		if _, ok := status.FromError(err); ok {
			return err
		}
		if s := status.FromContextError(err); s.Code() != codes.Unknown {
			return s.Err()
		}
	}
	s := status.New(codeOf(jobs.KindOf(err)), cut(jobs.Outside(err), maxErrorText))
	hint := cut(jobs.HintOf(err), maxHint)
	if hint == "" {
		return s.Err()
	}
	detailed, err := s.WithDetails(&errdetails.ErrorInfo{
		Domain: errorDomain, Metadata: map[string]string{hintField: hint},
	})
	if err != nil {
		return s.Err() // the hint is lost, the error is not
	}
	return detailed.Err()
}

// FromStatus returns a status error as an error of package jobs, with kind, text and hint; other errors it
// returns as they are. A call that was cancelled or timed out here or there is of kind Unavailable and wraps
// the context's error.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	var kinded *jobs.Error
	if errors.As(err, &kinded) {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	text := cut(s.Message(), maxErrorText)
	var result error
	switch s.Code() {
	case codes.Canceled:
		result = jobs.Errorf(jobs.Unavailable, "%s: %w", text, context.Canceled)
	case codes.DeadlineExceeded:
		result = jobs.Errorf(jobs.Unavailable, "%s: %w", text, context.DeadlineExceeded)
	default:
		result = jobs.Errorf(kindOf(s.Code()), "%s", text)
	}
	if hint := hintIn(s); hint != "" {
		return jobs.WithHint(result, "%s", hint)
	}
	return result
}

// hintIn returns the hint of a status from this package, or "".
func hintIn(s *status.Status) string {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return cut(info.GetMetadata()[hintField], maxHint)
		}
	}
	return ""
}

// cut returns at most n bytes of text as valid UTF-8, as protobuf demands it.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
