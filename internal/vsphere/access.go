package vsphere

import (
	"context"
	"crypto/sha1" //nolint:gosec // VDDK names certificates by it
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// An Access is what a program needs that logs in to the same vCenter by
// itself, as VDDK does. It prints without its secrets.
type Access struct {
	Host     string
	Port     int
	User     string
	Password string
	// Cookie is the value of vmware_soap_session, the session of the Client;
	// whoever has it is logged in.
	Cookie string
	// Thumbprint is the SHA-1 of the certificate that the Client has
	// verified, in upper-case hex with colons; empty over plain HTTP.
	Thumbprint string
}

func (a Access) String() string   { return fmt.Sprintf("%s at %s:%d", a.User, a.Host, a.Port) }
func (a Access) GoString() string { return a.String() }

// Access returns how to log in to the vCenter of c. The session is renewed
// first, so that cookie and certificate are those of now.
func (c *Client) Access(ctx context.Context) (Access, error) {
	if err := c.Renew(ctx); err != nil {
		return Access{}, err
	}
	a := Access{
		Host: c.url.Hostname(), User: c.session.user, Password: c.session.password, Thumbprint: c.trust.verified(),
	}
	_, port, err := net.SplitHostPort(hostPort(c.url))
	if err == nil {
		a.Port, err = strconv.Atoi(port)
	}
	if err != nil {
		return Access{}, fmt.Errorf("vCenter %s: %w", c.url, err)
	}
	for _, cookie := range c.vim.Jar.Cookies(c.url) {
		if cookie.Name == "vmware_soap_session" {
			a.Cookie = strings.Trim(cookie.Value, `"`)
		}
	}
	return a, nil
}

// sha1Thumbprint is a certificate as VDDK wants it named.
func sha1Thumbprint(cert *x509.Certificate) string {
	sum := sha1.Sum(cert.Raw) //nolint:gosec // see the import
	digits := strings.ToUpper(hex.EncodeToString(sum[:]))
	parts := make([]string, 0, len(sum))
	for i := 0; i < len(digits); i += 2 {
		parts = append(parts, digits[i:i+2])
	}
	return strings.Join(parts, ":")
}
