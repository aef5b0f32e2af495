package record_test

import (
	"testing"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// TestGoldenBytes holds the digests of one of each. A change here means that this version and the ones before
// it give one thing two IDs: no library update may do that.
func TestGoldenBytes(t *testing.T) {
	o := sampleOutcome()
	manifest := record.Sign(record.TypeManifest, []byte("payload"), key(1))
	manifest.Countersign(key(2))
	seal := record.Sign(record.TypeSeal, (&record.Seal{Job: theJob}).Encode(), key(1))
	for _, c := range []struct {
		name string
		got  jobs.Digest
		want string
	}{
		{"envelope", jobs.DigestOf(manifest.Encode()), "cafa23ea1201b245548a04d8f5db4bda74f2fdf88176ce1a8cf643dea3160956"},
		{"ID of a manifest", manifest.ID(), "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5"},
		{"ID of a seal", seal.ID(), "691e3f3137a38335f502220b14d40d26ce246fd5b13680d72b6e56e07b856b2f"},
		{"report", jobs.DigestOf(sampleReport().Encode()), "679f6966584042578f1d87833f28a61be6ab81c170edeefe67c50f3c41c11561"},
		{"receipt", jobs.DigestOf(sampleReceipt().Encode()), "312ecea196c13b61ec2c043028cb401042282cfa360f966698c2a931e77bc211"},
		{"ruling", jobs.DigestOf(sampleRuling().Encode()), "e1fc148b808cb8409243fa331187e5b6f4da412c424aa2ad024a55cae0fadfcc"},
		{"cancel", jobs.DigestOf((&record.Cancel{Job: theJob}).Encode()), "4837b615f933443ef9b59eb799272acec340e2d5f956ed9b851a7739b2729fd2"},
		{"seal", jobs.DigestOf((&record.Seal{Job: theJob}).Encode()), "4837b615f933443ef9b59eb799272acec340e2d5f956ed9b851a7739b2729fd2"},
		{"checkpoint", jobs.DigestOf(sampleCheckpoint().Encode()), "538c7947067463138fc8d70f6b13d0771c6f1e1f6cf209092a3ff46a95ea5908"},
		{"outcome", o.Digest(), "5a4596942a95f6677a4371a9c1a82c89dd379ad73403b6e824a0c95ad48554bf"},
		{"pack", jobs.DigestOf(samplePack()), "c34fbbab25d7b5697c39a5ba8fd6ef1d7dd4fe4cbee744330a86931cd305eb9e"},
	} {
		if got := c.got.String(); got != c.want {
			t.Errorf("%s: %s, expected %s", c.name, got, c.want)
		}
	}
}
