/* P12: a chunk of a table between its two marks.
 *
 * The source writes W times, each to one of two keys (a value, or none: the row is deleted), or truncates the table. A commit is two steps:
 * it is in the binlog, and may be sent, before the engine shows it; commits of unlike keys may become visible in another order. The extractor
 * follows the binlog and reads both keys as one chunk at any time; the chunk is a unit of the log at the place where the stream stands.
 * The target applies the log in order. While the table is copied a change of a row that is not there brings it, or is nothing; a row
 * of the chunk that is there with another value is a conflict.
 *
 * Broken on purpose: NO_LOW NO_HIGH NO_FOLD NO_VOID
 */
#ifndef W
#define W 3
#endif
#define TRUNCATE 2              /* as a key */
#define VOIDS 2                 /* a chunk that was voided is read again at most so often */

typedef Change { byte key; byte value };
Change log[W];                  /* the source's binlog */
byte logged;                    /* so many are in it */
bool shown[W];                  /* committed in the engine */
byte now[2];                    /* what a read sees */
bool busy[3];                   /* row locks; [2]: the whole table, while it is truncated */
bool done;                      /* no more is written */

byte pos;                       /* the stream has passed so many */
byte place; bool published; byte chunk[2];

proctype Commit() {             /* the next change: locks, binlog, engine */
    byte k, n, v;
    atomic {
        if
        :: !busy[0] && !busy[2] -> k = 0
        :: !busy[1] && !busy[2] -> k = 1
        :: !busy[0] && !busy[1] && !busy[2] -> k = TRUNCATE
        fi;
        busy[k] = 1
    };
    atomic {                    /* flushed to the binlog: the dump thread may send it from here on */
        n = logged; log[n].key = k;
        if :: k != TRUNCATE -> if :: v = n+1 :: v = 0 fi :: else fi;
        log[n].value = v; logged++
    };
    atomic {
        if :: k == TRUNCATE -> now[0] = 0; now[1] = 0 :: else -> now[k] = v fi;
        shown[n] = 1; busy[k] = 0
    }
}
proctype Source() { byte i; do :: i < W -> run Commit(); i++ :: break od; done = 1 }

#define SHOWN(to) ((to < 1 || shown[0]) && (to < 2 || shown[1]) && (to < 3 || shown[2]))

inline pass() {                 /* the stream takes one change; while a window is open it is folded in */
    if
    :: log[pos].key == TRUNCATE -> changed[0] = 0; changed[1] = 0; voided = 1
    :: else -> changed[log[pos].key] = 1; folded[log[pos].key] = log[pos].value
    fi;
    pos++
}
proctype Extractor() {
    byte folded[2], read[2], high, voids; bool changed[2], voided;
    do                          /* before the window */
    :: d_step { pos < logged -> pass() }
    :: break
    od;
again: skip;
    d_step { changed[0] = 0; changed[1] = 0; folded[0] = 0; folded[1] = 0; voided = 0; high = 0 };
#ifndef NO_LOW
    (SHOWN(pos));               /* low mark: what the stream has seen is visible */
#endif
    do                          /* the stream goes on while the rows are read */
    :: d_step { pos < logged -> pass() }
    :: d_step { read[0] = now[0]; read[1] = now[1] } -> break
    od;
    do
    :: d_step { pos < logged -> pass() }
#ifdef NO_HIGH
    :: break
#else
    :: atomic { high = logged -> break }                       /* high mark: what was visible is in the binlog before it */
#endif
    od;
    do
    :: d_step { pos < high -> pass() }
    :: else -> break
    od;
#ifndef NO_VOID
    if :: voided && voids < VOIDS -> voids++; goto again :: voided && voids == VOIDS -> goto out :: else fi;
#endif
    skip;
    d_step {
        place = pos; published = 1;
#ifdef NO_FOLD
        chunk[0] = read[0]; chunk[1] = read[1]
#else
        chunk[0] = (changed[0] -> folded[0] : read[0]);
        chunk[1] = (changed[1] -> folded[1] : read[1])
#endif
    };
    (done && SHOWN(logged));
    do :: d_step { pos < logged -> pass() } :: else -> break od;
out: skip
}

inline apply() {
    if :: log[i].key == TRUNCATE -> has[0] = 0; has[1] = 0; truth[0] = 0; truth[1] = 0
       :: else -> has[log[i].key] = log[i].value; truth[log[i].key] = log[i].value fi;
    i++
}
init {
    byte has[2], truth[2], i;   /* the target; the source as the binlog tells it */
    atomic { run Source(); run Extractor() };
    timeout ->
    d_step {
        if :: published ->
            do :: i < place -> apply() :: else -> break od;
            assert(!has[0] || has[0] == chunk[0]);              /* no false conflict */
            assert(!has[1] || has[1] == chunk[1]);
            has[0] = chunk[0]; has[1] = chunk[1];
            assert(has[0] == truth[0] && has[1] == truth[1]);   /* the slice exactly as it was at this place of the log */
            do :: i < logged -> apply() :: else -> break od;
            assert(has[0] == now[0] && has[1] == now[1])        /* and equal at the end */
        :: else fi
    }
}
