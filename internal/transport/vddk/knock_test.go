package vddk_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/vappvault/vappvault/internal/transport/vddk"
)

// listener says something to whoever connects, and keeps the connection.
func listener(t *testing.T, says string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, says)
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func TestAHostIsKnownByItsGreeting(t *testing.T) {
	for _, tc := range []struct {
		name, host, says, want string
	}{
		{"a host", "127.0.0.1", "220 VMware Authentication Daemon Version 1.10: SSL Required\r\n", ""},
		{"another server", "127.0.0.1", "SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0-OpenSSH_9.2"},
		{"no end of the line", "127.0.0.1", strings.Repeat("x", 4096), "xxx"},
		{"nothing is said", "127.0.0.1", "", "timeout"},
		{"a name that nobody knows", "esx01.invalid", "", "esx01.invalid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := vddk.Knock(ctx, tc.host, listener(t, tc.says))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if tc.host == "127.0.0.1" && err != nil && !errors.Is(err, vddk.ErrBanner) {
				t.Errorf("the port was reached: %v", err)
			}
		})
	}
}
