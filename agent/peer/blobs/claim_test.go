package blobs_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/blobs/blobstest"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestRefs holds that a claim survives as a file's name.
func TestRefs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.SliceOfN(rapid.Byte(), 32, 32)
		c := blobs.Claim{Job: jobs.JobID(id.Draw(t, "job")), Kind: blobs.Kind(rapid.IntRange(0, int(blobs.Cached)).Draw(t, "kind"))}
		if c.Kind == blobs.Checkpoint {
			c.Author, c.Unit = jobs.AgentID(id.Draw(t, "author")), rapid.Uint64().Draw(t, "unit")
		}
		d := jobs.Digest(id.Draw(t, "digest"))
		got, gotD, ok := blobs.Ref(c, d)
		if !ok || got != c || gotD != d {
			t.Fatalf("%v became %v, %v", c, got, ok)
		}
	})
}

// FuzzRefs holds that a name which is taken for a ref is the one that would be written: else its file could never
// be removed.
func FuzzRefs(f *testing.F) {
	base := job.String() + "." + blobstest.NoDigest().String()
	for _, end := range []string{"", ".pack", ".own", ".cached", ".PACK", ".", "." + job.String() + ".7", "." + job.String() + ".07", "..", ".1.2.3"} {
		f.Add(base + end)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if again, ok := blobs.RefName(name); ok && again != name {
			t.Errorf("%q was read as %q", name, again)
		}
	})
}

// FuzzHeader holds that what a header says is bounded, names its author alone, and comes out as it went in.
func FuzzHeader(f *testing.F) {
	author := jobs.KeyID{9}
	digest := blobstest.NoDigest()
	for _, h := range []*gridv1.PutHeader{
		{},
		{Job: job[:], Blob: record.BlobToProto(blobstest.BlobOf(content))},
		{Job: job[:], Blob: record.BlobToProto(blobstest.BlobOf(content)), Kind: gridv1.BlobKind_BLOB_KIND_PACK},
		{Job: job[:], Blob: record.BlobToProto(blobstest.BlobOf(content)), Kind: gridv1.BlobKind_BLOB_KIND_CHECKPOINT, Unit: 3, Keep: [][]byte{digest[:]}},
		{Job: job[:], Blob: record.BlobToProto(blobstest.BlobOf(content)), Kind: 3},
		{Job: job[:], Blob: record.BlobToProto(blobstest.BlobOf(content)), Keep: bytes.Split(bytes.Repeat([]byte("x."), 20), []byte("."))},
	} {
		data, err := proto.Marshal(h)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p gridv1.PutHeader
		if proto.Unmarshal(data, &p) != nil {
			return
		}
		again, claim, err := blobs.Header(&p, author)
		if err != nil {
			if jobs.KindOf(err) != jobs.Invalid {
				t.Errorf("refused as %v: %v", jobs.KindOf(err), err)
			}
			return
		}
		if len(again.GetKeep()) > blobs.MaxKeep || claim.Kind > blobs.Checkpoint {
			t.Errorf("took %v with %d blobs to keep", claim, len(again.GetKeep()))
		}
		if (claim.Kind == blobs.Checkpoint) != (claim.Author == author) {
			t.Errorf("claim %v of author %v", claim, author)
		}
		third, second, err := blobs.Header(again, author)
		if err != nil || second != claim || !proto.Equal(third, again) {
			t.Errorf("%v became %v, %v", claim, second, err)
		}
	})
}
