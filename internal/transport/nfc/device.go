package nfc

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// A place is where a disk is attached to a VM. Leases name disks by it, in the
// form "/vm-42/VirtualLsiLogicController0:1".
type place struct {
	class     string // scsi, sata, nvme, ide; bus numbers count within a class
	bus, unit int32
}

func placeOf(controller string, bus, unit int32) place {
	return place{class(controller), bus, unit}
}

// class returns which of a VM's buses a type of controller belongs to, by the
// name that the API or package vsphere has for it.
func class(controller string) string {
	name := strings.ToLower(controller)
	for _, c := range []struct{ part, class string }{
		{"nvme", "nvme"}, {"ahci", "sata"}, {"sata", "sata"}, {"ide", "ide"},
		{"scsi", "scsi"}, {"lsi", "scsi"}, {"buslogic", "scsi"},
	} {
		if strings.Contains(name, c.part) {
			return c.class
		}
	}
	return ""
}

var placeForm = regexp.MustCompile(`([A-Za-z]+)(\d+):(\d+)$`)

func parsePlace(key string) (place, bool) {
	m := placeForm.FindStringSubmatch(key)
	if m == nil {
		return place{}, false
	}
	bus, err := strconv.ParseInt(m[2], 10, 32)
	unit, err2 := strconv.ParseInt(m[3], 10, 32)
	p := placeOf(m[1], int32(bus), int32(unit))
	return p, err == nil && err2 == nil && p.class != ""
}

// deviceURLs returns the URLs of the given disks, as far as the lease has
// them.
func (l *lease) deviceURLs(vim *vim25.Client, disks map[int32]place) (map[int32]*url.URL, error) {
	devices, err := matchDevices(l.info.DeviceUrl, disks)
	if err != nil {
		return nil, err
	}
	urls := map[int32]*url.URL{}
	for key, d := range devices {
		if urls[key], err = deviceURL(vim, d); err != nil {
			return nil, fmt.Errorf("disk %d: %w", key, err)
		}
	}
	return urls, nil
}

// matchDevices finds out which URL is for which disk. A disk must never be
// taken for another, so it does not guess: where a lease does not name places,
// only the single disk of a VM is known.
func matchDevices(devices []types.HttpNfcLeaseDeviceUrl, disks map[int32]place) (map[int32]types.HttpNfcLeaseDeviceUrl, error) {
	byPlace := map[place]types.HttpNfcLeaseDeviceUrl{}
	var unplaced []types.HttpNfcLeaseDeviceUrl
	for _, d := range devices {
		if d.Disk != nil && !*d.Disk {
			continue // NVRAM, an ISO image
		}
		p, ok := parsePlace(d.Key)
		if !ok {
			p, ok = parsePlace(d.ImportKey)
		}
		if !ok {
			unplaced = append(unplaced, d)
			continue
		}
		if other, twice := byPlace[p]; twice {
			return nil, fmt.Errorf("lease has two disks for one place: %q and %q", other.Key, d.Key)
		}
		byPlace[p] = d
	}
	found := map[int32]types.HttpNfcLeaseDeviceUrl{}
	for key, p := range disks {
		if d, ok := byPlace[p]; ok && p.class != "" {
			found[key] = d
		} else if len(disks) == 1 && len(byPlace)+len(unplaced) == 1 {
			for _, d := range byPlace {
				unplaced = append(unplaced, d)
			}
			found[key] = unplaced[0]
		}
	}
	return found, nil
}

// deviceURL makes a lease's URL one that can be asked for, and lets the client
// trust the host behind it as far as vCenter vouches for it.
func deviceURL(vim *vim25.Client, d types.HttpNfcLeaseDeviceUrl) (*url.URL, error) {
	u, err := url.Parse(d.Url)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("lease has URL %q", d.Url)
	}
	server := vim.URL()
	if u.Hostname() == "*" {
		// The host that we are connected to, at the port in the URL if
		// there is one (HttpNfcLeaseDeviceUrl.url).
		if port := u.Port(); port != "" {
			u.Host = net.JoinHostPort(server.Hostname(), port)
		} else {
			u.Host = server.Host
		}
	}
	// How the certificate of vCenter itself is trusted was configured, and
	// nothing that arrives later changes that.
	if u.Host != server.Host {
		if print := thumbprint(d); print != "" {
			vim.SetThumbprint(u.Host, print)
		}
	}
	return u, nil
}

// thumbprint returns what the certificate of a lease's host is known by: the
// SHA-256 of a certificate that the lease holds (since 9.0), or a SHA-1.
func thumbprint(d types.HttpNfcLeaseDeviceUrl) string {
	if block, _ := pem.Decode([]byte(d.SslCertificate)); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			return soap.ThumbprintSHA256(cert)
		}
	}
	return strings.ToUpper(d.SslThumbprint)
}

// newHTTP returns a client of its own connections that shares the trust of
// vim, and its session where a URL leads to vCenter itself. A server may take
// so long to begin its answer.
func newHTTP(vim *vim25.Client, patience time.Duration) *http.Client {
	t := vim.DefaultTransport().Clone()
	t.DisableCompression = true // grains are compressed already
	t.ResponseHeaderTimeout = patience
	return &http.Client{
		Transport: t,
		Jar:       vim.Jar,
		// Whoever redirects is not the host that vCenter vouched for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
