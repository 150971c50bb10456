package limits

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// Guard puts a limit for each client in front of a handler.
type Guard struct {
	next    http.Handler
	trusted []*net.IPNet
	mutex   sync.Mutex
	buckets map[string]*Bucket
}

// ServeHTTP answers 429 with a Retry-After header to those who ask too often.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket := g.bucketOf(g.clientOf(r))
	if !bucket.Take() {
		seconds := int(bucket.Wait().Seconds()) + 1
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	g.next.ServeHTTP(w, r)
}

// clientOf finds who asks behind proxies, whose X-Forwarded-For is believed only if they are ours.
func (g *Guard) clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if !g.isTrusted(net.ParseIP(host)) {
		return host
	}
	hops := strings.Split(r.Header.Get("X-Forwarded-For"), ",")
	return strings.TrimSpace(hops[len(hops)-1])
}

func (g *Guard) isTrusted(ip net.IP) bool {
	for _, each := range g.trusted {
		if each.Contains(ip) {
			return true
		}
	}
	return false
}

func (g *Guard) bucketOf(client string) *Bucket {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	bucket, ok := g.buckets[client]
	if !ok {
		bucket = NewBucket(20, 5)
		g.buckets[client] = bucket
	}
	return bucket
}
