package vddk_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vappvault/vappvault/internal/transport/vddk"
)

// FuzzMessages: whatever a child says, the error that comes of it is bounded,
// is text, and has no secret in it.
func FuzzMessages(f *testing.F) {
	f.Add("nbdkit: vddk[1]: error: VixDiskLib_Open: login of tiger hunter2\n", "hunter2", true)
	f.Add("nbdkit: debug: actual thumbprint=hunter2hunter2 expected=\nnbdkit: error: Unknown error", "hunter2", true)
	f.Add("nbdkit: error: \xff\x00hunter2\r\n\n\nnbdkit: error: NFC error 5\n", "hunter2", false)
	f.Fuzz(func(t *testing.T, said, secret string, opens bool) {
		got := vddk.Heard(opens, said, secret).Error()
		if len(got) > 8<<10 || !utf8.ValidString(got) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
		// A secret made of what we put in ourselves would be found there.
		if secret == "" || strings.ContainsAny(secret, "*?;\r\n") || !utf8.ValidString(secret) ||
			strings.Contains(vddk.Heard(opens, "", secret).Error()+" ; overloaded: the other side is", secret) {
			return
		}
		if strings.Contains(strings.ReplaceAll(got, "the other side is overloaded", ""), secret) {
			t.Errorf("%q is in %q", secret, got)
		}
	})
}
