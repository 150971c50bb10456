package ledger;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Double-entry bookkeeping: what one account gives, another one gets. */
public final class Ledger {
    private final List<Entry> entries = new ArrayList<>();
    private final Map<String, BigDecimal> balances = new HashMap<>();

    public record Entry(String from, String to, BigDecimal amount, String memo) {}

    /** Moves money. Refuses amounts that are not positive and accounts that would be overdrawn. */
    public Entry transfer(String from, String to, BigDecimal amount, String memo) {
        if (amount.signum() <= 0) {
            throw new IllegalArgumentException("An amount must be more than nothing: " + amount);
        }
        if (balanceOf(from).compareTo(amount) < 0) {
            throw new Overdrawn(from, amount);
        }
        Entry entry = new Entry(from, to, amount, memo);
        entries.add(entry);
        balances.merge(from, amount.negate(), BigDecimal::add);
        balances.merge(to, amount, BigDecimal::add);
        return entry;
    }

    /** Books the opposite, since what was written is never deleted. */
    public Entry revert(Entry entry) {
        return transfer(entry.to(), entry.from(), entry.amount(), "reverts: " + entry.memo());
    }

    public BigDecimal balanceOf(String account) {
        return balances.getOrDefault(account, BigDecimal.ZERO);
    }

    /** Shares an amount so that no cent is lost: the first ones get the cents that are left. */
    public static List<BigDecimal> split(BigDecimal amount, int parts) {
        BigDecimal share = amount.divide(BigDecimal.valueOf(parts), 2, RoundingMode.DOWN);
        int left = amount.subtract(share.multiply(BigDecimal.valueOf(parts))).movePointRight(2).intValueExact();
        List<BigDecimal> shares = new ArrayList<>();
        for (int i = 0; i < parts; i++) {
            shares.add(i < left ? share.add(new BigDecimal("0.01")) : share);
        }
        return shares;
    }

    /** Whether nothing was made or lost by a mistake of ours. */
    public boolean isSound() {
        return balances.values().stream().reduce(BigDecimal.ZERO, BigDecimal::add).signum() == 0;
    }

    public static final class Overdrawn extends RuntimeException {
        Overdrawn(String account, BigDecimal amount) {
            super(account + " does not have " + amount);
        }
    }
}
