package blobstest

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"

	"idlegrid/agent/peer/blobs"
	"idlegrid/jobs"
)

func expectBlob(t *testing.T, s blobs.Store, b jobs.Blob, data []byte) {
	t.Helper()
	if !s.Has(b.Digest) {
		t.Fatalf("blob of %d bytes is not here", b.Size)
	}
	r, size, err := s.Open(b.Digest)
	if err != nil || size != b.Size {
		t.Fatalf("Open returned size %d, %v; expected %d", size, err, b.Size)
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes, %v; expected the %d stored", len(got), err, len(data))
	}
}

func expectNothing(t *testing.T, s blobs.Store, d jobs.Digest) {
	t.Helper()
	_, _, err := s.Open(d)
	expectKind(t, err, jobs.NotFound)
	if s.Has(d) || s.Holds(Job(1), d) {
		t.Error("the store claims a blob that it has not got")
	}
	for _, k := range s.List() {
		if k.Blob.Digest == d {
			t.Error("the blob is listed")
		}
	}
}

func expectList(t *testing.T, s blobs.Store, want ...blobs.Kept) {
	t.Helper()
	if got := s.List(); len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("List returned %v\nexpected %v", got, want)
	}
}

func expectKind(t *testing.T, err error, kind jobs.ErrorKind) {
	t.Helper()
	if err == nil || jobs.KindOf(err) != kind {
		t.Errorf("got error %v (%v), expected one of kind %v", err, jobs.KindOf(err), kind)
	}
}

// allow fails the test for an error of any other kind than these.
func allow(t *testing.T, err error, kinds ...jobs.ErrorKind) {
	t.Helper()
	if err != nil && !slices.Contains(kinds, jobs.KindOf(err)) {
		t.Error(err)
	}
}
