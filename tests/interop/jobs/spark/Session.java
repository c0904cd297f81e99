package cairn.interop.jobs;

import org.apache.spark.sql.SparkSession;

/** Spark within this process. */
final class Session {
    static final String BOOTSTRAP = System.getenv("INTEROP_BOOTSTRAP");

    static SparkSession local() {
        return SparkSession.builder()
                .master("local[2]")
                .appName("cairn")
                .config("spark.ui.enabled", false)
                .config("spark.sql.shuffle.partitions", 4)
                .config("spark.driver.bindAddress", "127.0.0.1")
                .config("spark.driver.host", "127.0.0.1")
                .getOrCreate();
    }

    private Session() {}
}
