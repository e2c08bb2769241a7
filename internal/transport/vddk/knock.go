package vddk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// banner is how the daemon of a host greets through which nbd and nbdssl go.
const banner = "220 VMware Authentication Daemon"

// patience is how long a host may take to answer and to greet.
const patience = 5 * time.Second

// ErrBanner says that something else than a host's daemon listens.
var ErrBanner = errors.New("no " + strconv.Quote(banner))

// Knock looks whether nbd and nbdssl could reach a host at a port: the port
// takes a connection, and what listens there greets as a host does.
func Knock(ctx context.Context, host string, port int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	said, err := bufio.NewReader(io.LimitReader(c, 512)).ReadString('\n')
	switch {
	case strings.HasPrefix(said, banner):
		return nil
	case said != "":
		return fmt.Errorf("%w, it says %q", ErrBanner, strings.TrimSpace(said))
	}
	return fmt.Errorf("%w: %w", ErrBanner, err)
}
